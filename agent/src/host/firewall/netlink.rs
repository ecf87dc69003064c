//! Messages and attributes of netlink, as bytes. Pure.
//!
//! Layout: `struct nlmsghdr` and `struct nlattr` of <linux/netlink.h>. Between them stands what the subsystem calls its
//! own header: `struct nfgenmsg` of <linux/netfilter/nfnetlink.h>, `struct ifinfomsg` of <linux/rtnetlink.h>. Numbers of headers are in the byte order of the machine, ports and what the
//! headers call `__be` in that of the network. Each message and attribute begins at a multiple of 4.

/// `sizeof(struct nlmsghdr)`, of `struct nfgenmsg` and of `struct ifinfomsg`.
const HEADER: usize = 16;
pub(super) const NETFILTER: usize = 4;
pub(super) const LINK: usize = 16;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;
/// `NLA_F_NESTED`
pub(super) const NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`: the two highest bits are flags.
const TYPE: u16 = 0x3fff;

/// `struct nfgenmsg`: the family, `NFNETLINK_V0` and no resource.
pub(super) fn netfilter(family: u8) -> [u8; NETFILTER] {
    [family, 0, 0, 0]
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// `nlmsg_type`: the subsystem in the upper byte, what is said in the lower one.
    pub(super) kind: u16,
    /// `nlmsg_seq`
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first byte of either header of a subsystem.
    pub(super) fn family(&self) -> Option<u8> {
        self.body.first().copied()
    }

    /// Content of the first attribute of that type, behind a header of so many bytes.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&'a [u8]> {
        attribute(self.body.get(header..).unwrap_or_default(), kind)
    }
}

/// The messages in what one read gave. What is cut off in the end is left out.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes.get(..4)?)?).ok()?;
        let whole = bytes.get(..length).filter(|_| length >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([whole[4], whole[5]]);
        Some(Message { kind, sequence: number(&whole[8..12])?, body: &whole[HEADER..] })
    })
}

/// Type and content of the attributes that these bytes are made of.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE;
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    })
}

/// Content of the first attribute of that type among them.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, content)| (found == kind).then_some(content))
}

/// A number of a header.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A request with the header of its subsystem and these attributes, to be sent as it is.
pub(super) fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    header: &[u8],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(header);
    for (kind, content) in attributes {
        let length = u16::try_from(content.len() + 4).unwrap_or(u16::MAX);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let bytes = [
            request(0x0a0f, ACKNOWLEDGE, 7, &netfilter(2), &[(1, b"table\0"), (0x8002, &[9])]),
            request(3, 0, 8, &netfilter(10), &[]),
        ]
        .concat();
        let found: Vec<Message> = messages(&bytes).collect();
        assert_eq!(
            (found.len(), found[0].kind, found[0].sequence, found[0].family()),
            (2, 0x0a0f, 7, Some(2))
        );
        let attribute = |kind| found[0].attribute(NETFILTER, kind);
        assert_eq!((attribute(1), attribute(2)), (Some(&b"table\0"[..]), Some(&[9][..])));
        assert_eq!((found[1].kind, found[1].attribute(NETFILTER, 1)), (3, None));
    }

    #[test]
    fn what_is_cut_off_or_nonsense_ends_the_reading() {
        let whole = request(3, 0, 8, &netfilter(10), &[(1, &[1, 2, 3])]);
        for length in 0..whole.len() {
            assert_eq!(messages(&whole[..length]).count(), 0, "{length} bytes");
        }
        assert_eq!(messages(&[0; 64]).count(), 0, "a message of no length");
        assert_eq!(attributes(&[2, 0, 0, 0, 0, 0]).count(), 0, "an attribute shorter than its header");
    }
}
