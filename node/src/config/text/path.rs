//! Absolute paths and bind mounts.

use crate::config::findings::Wrong;
use crate::config::settings::Mount;

/// An absolute path without `.`, `..` and doubled slashes; a slash at the end is dropped.
pub(in crate::config) fn absolute(text: &str) -> Result<String, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" {why}"));
    let Some(inner) = text.strip_prefix('/') else {
        return Err(wrong("is not an absolute path").hint("begin it with /"));
    };
    if text.chars().any(char::is_control) {
        return Err(wrong("has control characters"));
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let plain = |step: &str| !matches!(step, "" | "." | "..");
    if !inner.is_empty() && !inner.split('/').all(plain) {
        return Err(wrong("has empty, `.` or `..` steps"));
    }
    Ok(format!("/{inner}"))
}

/// Directories that the system itself lives in: a volume there would hide it.
const OF_THE_SYSTEM: [&str; 16] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var",
];

/// File systems of the kernel, and those that are gone after a boot: nothing is mounted below them either.
const OF_THE_KERNEL: [&str; 4] = ["/dev/", "/proc/", "/run/", "/sys/"];

/// Where a volume may be mounted.
pub(in crate::config) fn mount_point(text: &str) -> Result<String, Wrong> {
    let path = absolute(text)?;
    if OF_THE_SYSTEM.contains(&path.as_str()) || OF_THE_KERNEL.iter().any(|below| path.starts_with(below)) {
        return Err(Wrong::new(format!("\"{text}\" belongs to the system"))
            .hint("mount it on a directory of its own, such as /mnt/data"));
    }
    Ok(path)
}

/// `/HOST:/CONTAINER[:ro]`.
pub(in crate::config) fn bind_mount(text: &str) -> Result<Mount, Wrong> {
    const HINT: &str = "write \"/HOST/PATH:/CONTAINER/PATH\", or with \":ro\" at the end";
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not a mount: {why}")).hint(HINT);
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, read_only) = match parts.as_slice() {
        [host, container] => (host, container, false),
        [host, container, "ro"] => (host, container, true),
        [_, _, option] => return Err(wrong(&format!("`{option}` is not an option"))),
        _ => return Err(wrong("it has not two paths")),
    };
    let path = |path: &str| absolute(path).map_err(|why| why.about("not a mount").hint(HINT));
    let (host, container) = (path(host)?, path(container)?);
    if container == "/" {
        return Err(wrong("it covers the whole container"));
    }
    Ok(Mount { host, container, read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let mount = |host: &str, container: &str, read_only| {
            Ok(Mount { host: host.to_owned(), container: container.to_owned(), read_only })
        };
        assert_eq!(bind_mount("/mnt/models/:/root/.ollama"), mount("/mnt/models", "/root/.ollama", false));
        assert_eq!(bind_mount("/:/host:ro"), mount("/", "/host", true));
        for text in
            ["", "/a", "a:/b", "/a:b", "/a:/", "/a:/b:rw", "/a/../b:/c", "/a//b:/c", "/a:/b:ro:x", ":/b"]
        {
            assert!(bind_mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mount_points() {
        for text in ["/mnt/ollama-models", "/data", "/var/lib/docker", "/srv/"] {
            assert!(mount_point(text).is_ok(), "{text}");
        }
        for text in ["/", "/usr", "/run/x", "/dev/shm", "mnt", "", "/mnt/../etc", "/etc/"] {
            assert!(mount_point(text).is_err(), "{text}");
        }
    }
}
