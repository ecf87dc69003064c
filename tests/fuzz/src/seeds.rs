//! Writes the seeds of every target into folders: `seeds FOLDER`.

mod seed_inputs;

use fuzz::targets::encode_device;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("a folder");
    for (number, (target, bytes)) in seed_inputs::all().into_iter().enumerate() {
        let folder = std::path::Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(number.to_string()), bytes)?;
    }
    Ok(())
}
