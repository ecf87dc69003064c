//! Who a folder belongs to, and what they may do with it.

use crate::config::findings::Wrong;
use crate::config::settings::Owner;

/// `UID[:GID]`, in numbers: the host knows the users of no image.
pub(in crate::config) fn owner(text: &str) -> Result<Owner, Wrong> {
    let wrong = || {
        Wrong::new(format!("\"{text}\" is not an owner"))
            .hint("write \"UID\" or \"UID:GID\" in numbers, such as \"1000:1000\"")
    };
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // The last number means "as it is" to the kernel.
        part.parse::<u32>().ok().filter(|id| digits && *id != u32::MAX)
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let uid = number(uid).ok_or_else(wrong)?;
    let gid = gid.map(|gid| number(gid).ok_or_else(wrong)).transpose()?;
    Ok(Owner { uid, gid })
}

/// Three or four octal digits.
pub(in crate::config) fn mode(text: &str) -> Result<u32, Wrong> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(text, 8).ok().filter(|_| octal).ok_or_else(|| {
        Wrong::new(format!("\"{text}\" is not a mode"))
            .hint("write three or four octal digits, such as \"0750\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers() {
        assert_eq!(owner("1000:100"), Ok(Owner { uid: 1000, gid: Some(100) }));
        assert_eq!(owner("0"), Ok(Owner { uid: 0, gid: None }));
        for text in ["", ":", "1000:", ":1000", "root", "1:2:3", "-1", "+1", "4294967295", "1 ", "0x1"] {
            assert!(owner(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0750"), Ok(0o750));
        assert_eq!(mode("755"), Ok(0o755));
        assert_eq!(mode("2775"), Ok(0o2775));
        for text in ["", "7", "0o750", "0888", "rwx", "00750", "+750", "-750"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
