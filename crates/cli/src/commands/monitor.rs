//! `monitor`: packets as they arrive.

use anyhow::Result;
use jiff::tz::TimeZone;

use crate::args::MonitorArgs;
use crate::client::{Received, encode};
use crate::context::Context;
use crate::failure::{self, Exit};
use crate::output::shield;

/// Shows packets until it is stopped.
pub fn run(context: &mut Context, args: &MonitorArgs) -> Result<Exit> {
    let client = context.client()?;
    let filters: String =
        args.filters().iter().map(|(key, value)| format!("&{key}={}", encode(value))).collect();
    let mut stream = client.watch(&format!("/api/v1/monitor?every={}{filters}", args.every))?;
    let zone = TimeZone::system();
    let mut shown = 0;
    while let Some(received) = stream.next()? {
        match received {
            Received::Packet(packet) => {
                context.item(&packet, |style, _| shield::packet(&packet, &zone, style))?;
                shown += 1;
            }
            Received::Lost(lost) => {
                failure::say(&format!("{lost} packets were not shown: this reader was too slow"))
            }
            Received::Event(_) => {}
        }
        if args.count == Some(shown) {
            return Ok(Exit::Done);
        }
    }
    anyhow::bail!("the agent has ended the stream: it stopped, or was restarted; the shield stands")
}
