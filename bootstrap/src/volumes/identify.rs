//! From what a device says about itself to the names that node.toml knows: the EBS volume id and the attach name.
//! Pure: bytes and text in, names out.

pub use node::nvme::{EBS_MODEL, INSTANCE_STORE_MODEL, volume_id};

/// Size of the Identify Controller data structure (NVM Express base specification, figure "Identify Controller").
pub const IDENTIFY_BYTES: usize = node::nvme::PAGE_BYTES;

/// Vendor specific area: EBS writes the attach name there, padded with spaces.
const VENDOR_AREA: std::ops::Range<usize> = 3072..3104;
/// Serial number, padded with spaces.
const SERIAL: std::ops::Range<usize> = 4..24;
/// Model number, padded with spaces.
const MODEL: std::ops::Range<usize> = 24..64;

/// What an NVMe controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Serial number, without its padding.
    pub serial: String,
    /// Model, without its padding.
    pub model: String,
    /// The normalised name that it is attached under, if it is one of EBS and says it.
    pub attach_name: Option<String>,
}

/// Reads Identify Controller data; `None` if they are too short or no text.
pub fn controller(identify: &[u8]) -> Option<Controller> {
    let serial = text(identify.get(SERIAL)?)?;
    let model = text(identify.get(MODEL)?)?;
    let vendor_area = identify.get(VENDOR_AREA)?;
    let attach_name =
        if model == EBS_MODEL { text(vendor_area).and_then(|name| normalise(&name)) } else { None };
    Some(Controller { serial, model, attach_name })
}

/// The attach name in Identify Controller data, normalised, if the controller is an EBS one and says it.
pub fn attach_name(identify: &[u8]) -> Option<String> {
    controller(identify)?.attach_name
}

/// `sdf` for `/dev/sdf`, `sdf`, `xvdf`, `/dev/xvdf`: EC2 and the kernels name the same attachment in all of these
/// ways. `None` for what is no attach name.
pub fn normalise(name: &str) -> Option<String> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let rest = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd"))?;
    let letters = rest.trim_end_matches(|character: char| character.is_ascii_digit());
    let valid = !letters.is_empty()
        && letters.len() <= 2
        && letters.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.len() - letters.len() <= 2;
    valid.then(|| format!("sd{rest}"))
}

/// Text padded with spaces or zeros.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.trim_matches(|character| character == ' ' || character == '\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Identify data in the layout of an EBS controller on a Nitro instance: vendor 0x1d0f, serial, model, firmware.
    fn recorded(model: &str, vendor_area: &[u8]) -> Vec<u8> {
        let mut data = vec![0; IDENTIFY_BYTES];
        data[..4].copy_from_slice(&[0x0f, 0x1d, 0x0f, 0x1d]);
        data[4..24].copy_from_slice(b"vol0a1b2c3d4e5f60718");
        data[24..64].fill(b' ');
        data[24..24 + model.len()].copy_from_slice(model.as_bytes());
        data[64..72].copy_from_slice(b"1.0     ");
        data[3072..3072 + vendor_area.len()].copy_from_slice(vendor_area);
        data
    }

    #[test]
    fn a_controller_says_who_it_is() {
        let said = controller(&recorded(EBS_MODEL, b"sdf")).unwrap();
        assert_eq!((said.serial.as_str(), said.model.as_str()), ("vol0a1b2c3d4e5f60718", EBS_MODEL));
    }

    #[test]
    fn every_recorded_form_of_the_attach_name_is_the_same_name() {
        for form in ["sdf", "xvdf", "/dev/sdf", "/dev/xvdf"] {
            let mut area = [b' '; 32];
            area[..form.len()].copy_from_slice(form.as_bytes());
            assert_eq!(attach_name(&recorded(EBS_MODEL, &area)).as_deref(), Some("sdf"), "{form}");
        }
        let padded_with_zeros = b"/dev/sdba\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(attach_name(&recorded(EBS_MODEL, padded_with_zeros)).as_deref(), Some("sdba"));
    }

    #[test]
    fn only_an_ebs_controller_is_believed() {
        assert_eq!(attach_name(&recorded(INSTANCE_STORE_MODEL, b"ephemeral0:sdf")), None);
        assert_eq!(attach_name(&recorded("QEMU NVMe Ctrl", b"sdf")), None);
        assert_eq!(attach_name(&recorded(EBS_MODEL, &[b' '; 32])), None);
        assert_eq!(attach_name(&[0; 100]), None);
    }

    #[test]
    fn what_is_no_attach_name_is_none() {
        for name in ["nvme1n1", "sd", "sdF", "sdfoo", "xvd1", "/dev/", "", "sdf/..", "sdf123"] {
            assert_eq!(normalise(name), None, "{name}");
        }
        assert_eq!(normalise("sda1").as_deref(), Some("sda1"));
    }

    proptest! {
        #[test]
        fn no_identify_data_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
            let _ = controller(&bytes);
        }
    }
}
