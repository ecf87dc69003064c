//! Which volume is meant.

use super::image::is_lower_hex;
use crate::config::findings::Wrong;

/// The name under which a volume is attached: `/dev/sdf`, `sdf`, `/dev/xvdf` -> `sdf`.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html>
pub(in crate::config) fn attach_name(text: &str) -> Result<String, Wrong> {
    const HINT: &str = "write the attach name such as \"/dev/sdf\", or volume_id";
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not an attach name: {why}")).hint(HINT);
    let name = text.strip_prefix("/dev/").unwrap_or(text);
    if name.starts_with("nvme") {
        return Err(wrong("names of NVMe devices change from boot to boot"));
    }
    let Some(letters) = name.strip_prefix("sd").or_else(|| name.strip_prefix("xvd")) else {
        return Err(wrong("it does not begin with /dev/sd or /dev/xvd"));
    };
    let disk = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    if !(1..=2).contains(&disk.len()) || !disk.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(wrong("one or two small letters follow /dev/sd"));
    }
    if disk == "a" {
        return Err(wrong("that is the root volume"));
    }
    if disk != letters {
        return Err(wrong("it is a partition, a volume is used whole"));
    }
    Ok(format!("sd{disk}"))
}

/// `vol-` and 8 or 17 hexadecimal digits.
pub(in crate::config) fn volume_id(text: &str) -> Result<String, Wrong> {
    match text.strip_prefix("vol-") {
        Some(digits) if matches!(digits.len(), 8 | 17) && is_lower_hex(digits) => Ok(text.to_owned()),
        _ => Err(Wrong::new(format!("\"{text}\" is not the id of a volume"))
            .hint("write it as EC2 shows it: vol- and 17 hexadecimal digits in lower case")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attach_names() {
        let taken = [
            ("/dev/sdf", "sdf"),
            ("sdf", "sdf"),
            ("/dev/xvdf", "sdf"),
            ("xvdba", "sdba"),
            ("/dev/sdaa", "sdaa"),
        ];
        for (text, name) in taken {
            assert_eq!(attach_name(text).as_deref(), Ok(name), "{text}");
        }
        let refused = [
            "",
            "/dev/",
            "/dev/sd",
            "/dev/sda",
            "/dev/sda1",
            "/dev/sdf1",
            "/dev/nvme1n1",
            "/dev/sdF",
            "/dev/sdabc",
            "sdé",
        ];
        for text in refused {
            assert!(attach_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn volume_ids() {
        assert!(volume_id("vol-0123456789abcdef0").is_ok());
        assert!(volume_id("vol-1234abcd").is_ok());
        for text in ["", "vol-", "vol-0123456789ABCDEF0", "vol-0123", "snap-0123456789abcdef0"] {
            assert!(volume_id(text).is_err(), "{text}");
        }
    }
}
