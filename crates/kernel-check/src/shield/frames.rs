//! Frames for the shield.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SYN: u8 = 2;

/// What stands between the addresses and the network header.
#[derive(Clone, Copy)]
pub enum Wrap {
    Plain,
    Tagged,
    Snap,
}

/// What a frame is to say.
#[derive(Clone, Copy)]
pub struct Asked {
    pub source: IpAddr,
    pub protocol: u8,
    pub port: u16,
    /// 0: whole; 1: the first piece; 2: a later one.
    pub piece: u8,
    pub wrap: Wrap,
}

impl Asked {
    /// A whole packet.
    pub fn new(source: &str, protocol: u8, port: u16) -> Self {
        let source = source.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self { source, protocol, port, piece: 0, wrap: Wrap::Plain }
    }

    pub fn wrapped(self, wrap: Wrap) -> Self {
        Self { wrap, ..self }
    }

    pub fn piece(self, piece: u8) -> Self {
        Self { piece, ..self }
    }

    /// The frame.
    pub fn frame(self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let network = self.network();
        match self.wrap {
            Wrap::Plain => {}
            Wrap::Tagged => frame.extend([0x88, 0xa8, 0, 5, 0x81, 0, 0, 7]),
            Wrap::Snap => {
                frame.extend(((network.len() + 8) as u16).to_be_bytes());
                frame.extend([0xaa, 0xaa, 3, 0, 0, 0]);
            }
        }
        frame.extend(if self.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(network);
        frame
    }

    fn network(self) -> Vec<u8> {
        let mut bytes = match self.source {
            IpAddr::V4(source) => self.header4(source),
            IpAddr::V6(source) => self.header6(source),
        };
        let mut transport = [0u8; 24];
        transport[..2].copy_from_slice(&4000u16.to_be_bytes());
        transport[2..4].copy_from_slice(&self.port.to_be_bytes());
        if self.protocol == TCP {
            transport[13] = SYN;
        }
        bytes.extend(transport);
        bytes
    }

    fn header4(self, source: Ipv4Addr) -> Vec<u8> {
        let fragment: u16 = [0, 0x2000, 185][usize::from(self.piece) % 3];
        // With an option: the transport header is not where it mostly is.
        let mut bytes = vec![0x46, 0, 0, 48, 0, 1];
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend([10, 0, 0, 1, 1, 1, 1, 0]);
        bytes
    }

    /// Hop-by-hop and destination options come first, and of a piece the fragment header.
    fn header6(self, source: Ipv6Addr) -> Vec<u8> {
        let extra = if self.piece == 0 { 0 } else { 8 };
        let mut bytes = vec![0x60, 0, 0, 0, 0, 24 + 16 + extra, 0, 64];
        bytes.extend(source.octets());
        bytes.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
        bytes.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([if self.piece == 0 { self.protocol } else { 44 }, 0, 1, 4, 0, 0, 0, 0]);
        if self.piece != 0 {
            let offset: u16 = [0, 1, 185 << 3][usize::from(self.piece) % 3];
            bytes.extend([self.protocol, 0]);
            bytes.extend(offset.to_be_bytes());
            bytes.extend([0, 0, 0, 9]);
        }
        bytes
    }
}
