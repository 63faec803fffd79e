//! Drops as a capture file that Wireshark and tshark read (pcapng, draft-ietf-opsawg-pcapng).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use portcullis_policy::api::DropRecord;

use super::drops;

/// Nanoseconds: the exponent that `if_tsresol` holds.
const NANOSECONDS: u8 = 9;

/// A capture being written. Each frame is handed on whole, so that whoever reads a pipe sees it.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    interfaces: HashMap<String, u32>,
}

impl<W: Write> Capture<W> {
    /// Begins a capture.
    pub fn new(target: W) -> Result<Self> {
        let mut capture =
            Self { writer: PcapNgWriter::new(target).map_err(plain)?, interfaces: HashMap::new() };
        capture.writer.get_mut().flush()?;
        Ok(capture)
    }

    /// Adds a frame, with reason and endpoint in its comment.
    pub fn add(&mut self, drop: &DropRecord) -> Result<()> {
        let data =
            hex(&drop.frame).with_context(|| format!("the frame of {} is not hexadecimal", drop.time))?;
        let time: Timestamp = drop.time.parse().with_context(|| format!("{:?} is not a time", drop.time))?;
        let nanoseconds = u64::try_from(time.as_nanosecond()).context("a time before 1970")?;
        let interface_id = self.interface(drop)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(nanoseconds),
            original_len: drop.length.max(u32::try_from(data.len())?),
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Comment(Cow::Owned(drops::comment(drop)))],
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        Ok(self.writer.get_mut().flush()?)
    }

    /// The number of the drop's interface, described when it is first met.
    fn interface(&mut self, drop: &DropRecord) -> Result<u32> {
        let name = match &drop.interface {
            Some(name) => super::clean(name),
            None => format!("ifindex {}", drop.ifindex),
        };
        if let Some(&id) = self.interfaces.get(&name) {
            return Ok(id);
        }
        let id = u32::try_from(self.interfaces.len())?;
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(&name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_pcapng_block(block).map_err(plain)?;
        self.interfaces.insert(name, id);
        Ok(id)
    }
}

/// Keeps the I/O error visible: a closed pipe is no failure.
fn plain(error: PcapError) -> anyhow::Error {
    match error {
        PcapError::IoError(error) => error.into(),
        other => other.into(),
    }
}

fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b':').collect();
    if !digits.len().is_multiple_of(2) {
        bail!("an odd number of digits");
    }
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::fixture;
    use super::*;

    fn capture() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut capture = Capture::new(&mut bytes).unwrap();
        let first = fixture::drop_record();
        let mut second = first.clone();
        second.interface = Some("veth2".into());
        second.time = "2026-11-21T10:00:01.000000001Z".into();
        for drop in [&first, &second, &first] {
            capture.add(drop).unwrap();
        }
        bytes
    }

    #[test]
    fn tshark_reads_time_interface_comment_and_frame() {
        let mut tshark = Command::new("tshark")
            .args(["-n", "-r", "-", "-T", "fields", "-E", "separator=|"])
            .args(["-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.len"])
            .args(["-e", "ip.src", "-e", "frame.comment"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tshark is needed: apt-get install tshark");
        tshark.stdin.take().unwrap().write_all(&capture()).unwrap();
        let output = tshark.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(
            lines[0],
            "1795255200.123456789|veth1|60|192.0.2.10|portcullis: spoofed-ipv4, endpoint web-1, dropped, \
             bound: 10.0.0.2, sender: scapy\u{fffd}[2J 812"
        );
        assert!(lines[1].starts_with("1795255201.000000001|veth2|60|"), "{text}");
    }

    #[test]
    fn a_frame_that_cannot_be_read_is_told() {
        let mut bytes = Vec::new();
        let mut capture = Capture::new(&mut bytes).unwrap();
        let odd = DropRecord { frame: "abc".into(), ..fixture::drop_record() };
        assert!(capture.add(&odd).is_err());
        assert!(hex("zz").is_err());
        assert_eq!(hex("0a:ff 01").unwrap(), [10, 255, 1]);
    }
}
