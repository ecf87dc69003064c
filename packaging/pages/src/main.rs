//! `pages DIRECTORY`: writes every page and completion below DIRECTORY. `make dist` runs it.

#![expect(clippy::print_stderr, reason = "a program for whoever makes a release")]
#![expect(
    clippy::disallowed_methods,
    reason = "it writes into a new folder, and nobody reads that meanwhile"
)]

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: pages DIRECTORY");
        return ExitCode::from(node::exit::USAGE);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the pages to {}: {error}", Path::new(&directory).display());
            ExitCode::from(node::exit::FAILED)
        }
    }
}

fn write(directory: &Path) -> io::Result<()> {
    for file in pages::files()? {
        let path = directory.join(&file.path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, &file.content)?;
    }
    Ok(())
}
