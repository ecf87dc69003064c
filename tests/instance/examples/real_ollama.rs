//! ollama-chat with the Ollama of this host, where it has one: its program, the libraries that it needs and its own for
//! the CPU become the image that the example names, and its models come from the registry here.
//!
//! What the registry has are weights without a network: a real server pulls, lists and keeps them, and cannot bring them
//! into memory. So it is checked that they are on the volume, and that the node does not call itself ready without them.

#![expect(clippy::disallowed_methods, reason = "takes a program of the host with its libraries")]

use super::deployment::Deployment;
use super::ollama::{Seen, VOLUME_BYTES, are_on_the_volume, leaves_cleaning_to_the_agent, model, publish};
use harness::images::{Entry, Recipe};
use harness::instance::OUTSIDE_ADDRESS;
use harness::model_registry::MODEL_HOST;
use harness::requirements::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const AUTHORITIES: &str = "etc/ssl/authorities.pem";
/// A container has a hosts file of its own, and nobody answers for names here.
const START: &str = "echo ADDRESS NAME >> /etc/hosts; exec /usr/bin/ollama serve";
/// Of the server's own libraries, those that need no GPU.
const OWN: [&str; 2] = ["libggml-base", "libggml-cpu"];

fn ollama() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("ollama")).find(|file| file.is_file())?;
    found.canonicalize().ok()
}

/// A file of the host under a path of the image.
fn file(from: &Path, to: &str) -> Entry {
    let bytes = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    Entry::File(to.trim_start_matches('/').to_owned(), 0o755, bytes)
}

/// What the loader would load for it, the loader itself too.
fn libraries(program: &Path) -> Vec<Entry> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(|path| file(Path::new(path), path)).collect()
}

/// In `lib/ollama` beside the folder of the program.
fn own_libraries(program: &Path) -> Vec<Entry> {
    let folder = program.parent().and_then(Path::parent).map(|root| root.join("lib/ollama"));
    let entries = folder.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let wanted = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        OWN.iter().any(|own| name.starts_with(own))
    });
    wanted
        .map(|entry| file(&entry.path(), &format!("usr/lib/ollama/{}", entry.file_name().to_string_lossy())))
        .collect()
}

fn image(program: &Path, authority: &str) -> Recipe {
    let mut recipe = Recipe::of_program("/usr/bin/ollama", fs::read(program).unwrap())
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("OLLAMA_HOST", "0.0.0.0:11434")
        .env("SSL_CERT_FILE", &format!("/{AUTHORITIES}"));
    recipe.layers.push(libraries(program));
    recipe.layers.push(own_libraries(program));
    recipe.layers.push(vec![
        file(Path::new("/bin/busybox"), "bin/busybox"),
        Entry::Directory("root".to_owned(), 0o700),
        Entry::File(AUTHORITIES.to_owned(), 0o644, authority.as_bytes().to_vec()),
    ]);
    let start = START.replace("ADDRESS", OUTSIDE_ADDRESS).replace("NAME", MODEL_HOST);
    recipe.entrypoint = vec!["/bin/busybox".to_owned(), "sh".to_owned(), "-c".to_owned(), start];
    recipe
}

#[test]
fn ollama_chat_has_its_models_on_the_volume_with_a_real_server_too() {
    let Some(program) = ollama() else {
        return skipped("no ollama on the PATH: the examples came up with its stand-in only");
    };
    let Some(mut deployment) = Deployment::of("ollama-chat") else { return };
    deployment.stage().renew_volume_with(VOLUME_BYTES).unwrap();
    let names = ["llama2:7b", "nomic-embed-text:latest"];
    let digests = publish(&mut deployment, &names);
    let stage = deployment.stage();
    let recipe = image(&program, stage.cloud.authority_pem());
    stage.push_to("ollama/ollama", &recipe.build().unwrap(), "0.5.4").unwrap();
    deployment.image("ollama-chat-backend", "latest", &[]);
    deployment.image("ollama-chat-frontend", "latest", &[("PORT", "3000")]);
    let seen = Seen::default();
    let node = deployment.start_until("both models to be on the volume", |status| {
        seen.look(status, names[0]);
        names.iter().zip(&digests).all(|(name, digest)| model(&status["models"], name)["digest"] == *digest)
    });

    are_on_the_volume(&node, &names, &digests);
    leaves_cleaning_to_the_agent(&node);
    let said = node.shell("agentctl models --json").expect_success();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["server"]["state"], "up", "{said:#}");
    let told = Command::new(&program).arg("--version").output().unwrap();
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    let version = said["server"]["version"].as_str().unwrap();
    assert!(told.contains(version), "the host's is {told:?}, the container's {version:?}");
}
