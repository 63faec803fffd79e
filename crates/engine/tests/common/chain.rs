//! What the independent judge reads item by item: extension headers and options.

use std::net::Ipv6Addr;

use etherparse::{IpAuthHeaderSlice, IpNumber, Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice, ip_number};
use portcullis_abi::DropReason;

pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(address) & 0xff_ffff;
    Ipv6Addr::from(u128::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0)) | low)
}

/// Kind and data of each, eight at most, and whether they end where the message does.
pub(super) fn nd_options(mut rest: &[u8]) -> (Vec<(u8, &[u8])>, bool) {
    let mut options = Vec::new();
    while !rest.is_empty() {
        let len = rest.get(1).map_or(0, |units| usize::from(*units) * 8);
        if len == 0 || len > rest.len() || options.len() == 8 {
            return (options, false);
        }
        options.push((rest[0], &rest[2..len]));
        rest = &rest[len..];
    }
    (options, true)
}

/// Loose or strict source routing; options that cannot be read, and more than eight, count as such.
pub(super) fn has_source_route(options: &[u8]) -> bool {
    let mut rest = options;
    for _ in 0..8 {
        let skipped = match rest {
            [] | [0, ..] => return false,
            [131 | 137, ..] => return true,
            [1, ..] => 1,
            [_, len, ..] if *len >= 2 => usize::from(*len),
            _ => return true,
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    !rest.is_empty()
}

pub(super) struct Chain<'a> {
    pub upper: IpNumber,
    pub rest: &'a [u8],
    pub fragmented: bool,
    pub headless: bool,
}

/// Follows the extension headers; `body` is `payload` with what the frame has behind it.
pub(super) fn walk<'a>(first: IpNumber, payload: &'a [u8], body: &[u8]) -> Result<Chain<'a>, DropReason> {
    const MALFORMED: DropReason = DropReason::Malformed;
    let mut chain = Chain { upper: first, rest: payload, fragmented: false, headless: false };
    for position in 0.. {
        let at = payload.len() - chain.rest.len();
        let (next, len) = match chain.upper {
            ip_number::IPV6_HEADER_HOP_BY_HOP if position != 0 => return Err(MALFORMED),
            // Told even where the packet's own length cuts it off.
            ip_number::IPV6_ROUTE_HEADER if body.len() >= at + 4 && body[at + 2] == 0 => {
                return Err(DropReason::SourceRoute);
            }
            ip_number::IPV6_HEADER_HOP_BY_HOP
            | ip_number::IPV6_ROUTE_HEADER
            | ip_number::IPV6_DESTINATION_OPTIONS => {
                let header = Ipv6RawExtHeaderSlice::from_slice(chain.rest).map_err(|_| MALFORMED)?;
                (header.next_header(), header.slice().len())
            }
            // etherparse: refuses a length of 0; Linux steps over eight bytes, and so must the gate.
            ip_number::AUTHENTICATION_HEADER if chain.rest.len() >= 8 && chain.rest[1] == 0 => {
                (IpNumber(chain.rest[0]), 8)
            }
            ip_number::AUTHENTICATION_HEADER => {
                let header = IpAuthHeaderSlice::from_slice(chain.rest).map_err(|_| MALFORMED)?;
                (header.next_header(), header.slice().len())
            }
            ip_number::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(chain.rest).map_err(|_| MALFORMED)?;
                chain.fragmented = true;
                chain.headless = header.fragment_offset().value() != 0;
                (header.next_header(), 8)
            }
            _ => return Ok(chain),
        };
        if position == 8 {
            return Err(MALFORMED);
        }
        (chain.upper, chain.rest) = (next, &chain.rest[len..]);
        if chain.headless {
            return Ok(chain);
        }
    }
    unreachable!("the bound returns")
}
