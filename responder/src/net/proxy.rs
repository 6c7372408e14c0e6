//! The PROXY protocol, version 2: a balancer names the client before it sends anything else.
//!
//! Purpose: from hostile bytes to an address, or to a refusal; pure. The specification is haproxy's
//! `proxy-protocol.txt`, section 2.2. It does not know whom to trust.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The fixed beginning of every header: signature, version and command, family, length.
pub const FIXED_OCTETS: usize = 16;

/// Bytes after those that name the client: at most two IPv6 addresses with their ports. Anything after them (more about
/// the balancer, or about TLS with whole certificates) is skipped.
pub const ADDRESS_OCTETS: usize = 36;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What is wrong with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyError {
    /// There is none.
    NoHeader,
    /// Its version or command is not one of version 2.
    Unsupported,
    /// It has no room for the addresses it announces.
    TooShort,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "does not begin with a PROXY header of version 2",
            Self::Unsupported => "has a PROXY header of an unknown version or command",
            Self::TooShort => "has a PROXY header that is cut short",
        })
    }
}

impl std::error::Error for ProxyError {}

/// How many bytes follow the first [`FIXED_OCTETS`].
pub fn remainder(fixed: &[u8]) -> Result<usize, ProxyError> {
    let [signature @ .., high, low] = fixed else { return Err(ProxyError::NoHeader) };
    if signature.len() != FIXED_OCTETS - 2 || !signature.starts_with(&SIGNATURE) {
        return Err(ProxyError::NoHeader);
    }
    Ok(usize::from(u16::from_be_bytes([*high, *low])))
}

/// The client that a header names. At least the first [`FIXED_OCTETS`] and [`ADDRESS_OCTETS`] are here, or all of it.
/// `None` if the proxy connects for itself (a health check), or for a client without an IP address.
pub fn client(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let (fixed, rest) = header.split_at_checked(FIXED_OCTETS).ok_or(ProxyError::NoHeader)?;
    let rest = rest.get(..remainder(fixed)?.min(ADDRESS_OCTETS)).ok_or(ProxyError::TooShort)?;
    // Version and command; the rest of a LOCAL header is ignored.
    match fixed[12] {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(ProxyError::Unsupported),
    }
    // Family and transport: TCP over IPv4, TCP over IPv6; anything else counts as unspecified (section 2.2).
    match fixed[13] {
        0x11 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _, ..] = *rest else { return Err(ProxyError::TooShort) };
            Ok(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
        }
        0x21 => {
            let (addresses, ports) = rest.split_first_chunk::<32>().ok_or(ProxyError::TooShort)?;
            let source: &[u8; 16] = addresses.first_chunk().ok_or(ProxyError::TooShort)?;
            let [high, low, _, _, ..] = *ports else { return Err(ProxyError::TooShort) };
            let address = IpAddr::from(Ipv6Addr::from(*source)).to_canonical();
            Ok(Some((address, u16::from_be_bytes([high, low])).into()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    #[test]
    fn the_source_address_is_taken_whatever_follows_it() {
        let wanted = Some("192.0.2.7:4660".parse().unwrap());
        assert_eq!(client(&header(0x21, 0x11, &V4)), Ok(wanted));
        assert_eq!(client(&header(0x21, 0x11, &[&V4[..], &[4, 0, 1, 0]].concat())), Ok(wanted), "with a TLV");
        let mut v6 = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        v6.extend_from_slice(&[0; 16]);
        v6.extend_from_slice(&[0x12, 0x34, 0, 80]);
        assert_eq!(client(&header(0x21, 0x21, &v6)), Ok(Some("[2001:db8::7]:4660".parse().unwrap())));
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        assert_eq!(client(&header(0x20, 0x00, &[])), Ok(None));
        assert_eq!(client(&header(0x20, 0x11, &V4)), Ok(None), "the addresses of LOCAL are ignored");
        assert_eq!(client(&header(0x21, 0x00, &[])), Ok(None));
        assert_eq!(client(&header(0x21, 0x31, &[0; 216])), Ok(None));
    }

    #[test]
    fn a_protocol_that_is_none_of_ours_counts_as_unspecified() {
        // Datagrams, Unix sockets and undefined families must not be refused: they have no client address.
        for family in [0x01, 0x02, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x32, 0x41, 0xff] {
            for rest in [&V4[..], &[], &[0; 300]] {
                assert_eq!(client(&header(0x21, family, rest)), Ok(None), "{family:#x}");
            }
        }
    }

    #[test]
    fn what_follows_the_addresses_may_be_long_and_is_not_waited_for() {
        let whole = header(0x21, 0x11, &[&V4[..], &[9; 60_000]].concat());
        assert_eq!(remainder(&whole[..FIXED_OCTETS]), Ok(60_012));
        let wanted = Ok(Some("192.0.2.7:4660".parse().unwrap()));
        assert_eq!(client(&whole[..FIXED_OCTETS + ADDRESS_OCTETS]), wanted);
        assert_eq!(client(&whole[..FIXED_OCTETS + ADDRESS_OCTETS - 1]), Err(ProxyError::TooShort));
    }

    #[test]
    fn every_doubt_is_a_refusal() {
        for (what, octets, error) in [
            ("nothing", vec![], ProxyError::NoHeader),
            ("a request", b"GET / HTTP/1.1\r\n\r\n".to_vec(), ProxyError::NoHeader),
            ("version 1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(), ProxyError::NoHeader),
            ("version 3", header(0x31, 0x11, &V4), ProxyError::Unsupported),
            ("an unknown command", header(0x22, 0x11, &V4), ProxyError::Unsupported),
            ("IPv6 in the room of IPv4", header(0x21, 0x21, &V4), ProxyError::TooShort),
            ("no room", header(0x21, 0x11, &V4[..11]), ProxyError::TooShort),
        ] {
            assert_eq!(client(&octets), Err(error), "{what}");
        }
        let whole = header(0x21, 0x11, &V4);
        for end in 0..whole.len() {
            assert!(client(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..80), command: u8, family: u8) {
            let _ = client(&octets);
            let _ = client(&header(command, family, &octets));
        }
    }
}
