//! Transfer encodings of MIME (RFC 2045, section 6) undone. Pure. Strict: a text that may have been changed on its way
//! is no configuration.

/// Undoes an encoding; the reason completes `user data …`.
pub(super) fn decode(encoding: Option<&str>, body: &[u8]) -> Result<Vec<u8>, &'static str> {
    match encoding {
        None | Some("" | "7bit" | "8bit" | "binary") => Ok(body.to_vec()),
        Some("base64") => base64(body).ok_or("has a part node.toml whose base64 is broken"),
        Some("quoted-printable") => {
            quoted_printable(body).ok_or("has a part node.toml whose quoted-printable text is broken")
        }
        Some(_) => Err("has a part node.toml in an unknown transfer encoding"),
    }
}

/// base64 with white space anywhere; `None` where it is anything else.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut digits, mut padding) = (0_u32, 0_u32, 0_u32);
    for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        if *byte == b'=' {
            padding += 1;
            continue;
        }
        bits = (bits << 6) | digit(*byte).filter(|_| padding == 0)?;
        digits += 1;
        if digits % 4 == 0 {
            decoded.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match (digits % 4, padding) {
        (0, 0) => {}
        (2, 2) if bits & 0xf == 0 => decoded.push((bits >> 4).to_be_bytes()[3]),
        (3, 1) if bits & 0x3 == 0 => decoded.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => return None,
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

fn quoted_printable(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'=', [b'\r', b'\n', after @ ..] | [b'\n', after @ ..]) => after,
            (b'=', [high, low, after @ ..]) => {
                decoded.push(hexadecimal(*high)? << 4 | hexadecimal(*low)?);
                after
            }
            // A soft line break at the very end.
            (b'=', []) => after,
            (b'=', _) => return None,
            (byte, after) => {
                decoded.push(*byte);
                after
            }
        };
    }
    Some(decoded)
}

fn hexadecimal(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
