//! `stats`, once or again and again.

use std::time::{Duration, Instant};

use anyhow::Result;
use portcullis_policy::api::Endpoint;

use crate::args::StatsArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Style;
use crate::output::stats::{Earlier, table};

/// Shows the counters.
pub fn run(context: &mut Context, args: &StatsArgs) -> Result<Exit> {
    let client = context.client()?;
    if !args.watch {
        let endpoints = look(&client, &args.endpoints)?;
        context.object(&endpoints, |style, _| table(&endpoints, None, style))?;
        return Ok(Exit::Done);
    }
    let mut last: Option<(Vec<Endpoint>, Instant)> = None;
    for round in 1.. {
        let endpoints = look(&client, &args.endpoints)?;
        let now = Instant::now();
        let earlier = last.take().map(|(before, then)| Earlier::new(&before, now - then));
        // The columns of the rates stand there from the first look on, so that nothing jumps.
        let earlier = earlier.unwrap_or_else(|| Earlier::new(&[], Duration::from_secs(1)));
        context
            .item(&endpoints, |style, _| frame(&table(&endpoints, Some(&earlier), style), style, round))?;
        if args.count == Some(round) {
            break;
        }
        last = Some((endpoints, now));
        std::thread::sleep(args.interval);
    }
    Ok(Exit::Done)
}

fn look(client: &Client, names: &[String]) -> Result<Vec<Endpoint>> {
    let endpoints = client.endpoints()?;
    if names.is_empty() {
        return Ok(endpoints);
    }
    let is = |endpoint: &Endpoint, name: &String| endpoint.name == *name || endpoint.id == *name;
    for name in names {
        if !endpoints.iter().any(|endpoint| is(endpoint, name)) {
            let todo = "see `portcullis endpoint list`";
            return Err(Failure::not_found(format!("there is no endpoint \"{name}\": {todo}")));
        }
    }
    Ok(endpoints.into_iter().filter(|e| names.iter().any(|name| is(e, name))).collect())
}

/// One look on the screen: in place of the last one on a terminal, below it elsewhere.
fn frame(table: &str, style: &Style, round: u64) -> String {
    let Some((_, rows)) = style.size else {
        return if round > 1 { format!("\n{table}") } else { table.to_owned() };
    };
    // Home, each line cleared to its end, then the rest of the screen: nothing flickers.
    let mut text = String::from(if round == 1 { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    let room = usize::from(rows.max(3)) - 1;
    let lines: Vec<_> = table.lines().collect();
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    for line in &lines[..shown] {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    if lines.len() > shown {
        text.push_str(&format!("… {} more lines\x1b[K\n", lines.len() - shown));
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_never_overrun() {
        let table = "head\n".to_owned() + &"row\n".repeat(30);
        let style = Style { colour: false, size: Some((80, 10)) };
        let text = frame(&table, &style, 2);
        assert_eq!(text.matches('\n').count(), 9);
        assert!(text.contains("… 23 more lines"), "{text}");
        assert!(text.starts_with("\x1b[Hhead\x1b[K\n") && text.ends_with("\x1b[J"));
    }

    #[test]
    fn elsewhere_tables_follow_each_other() {
        assert_eq!(frame("a\n", &Style::default(), 1), "a\n");
        assert_eq!(frame("a\n", &Style::default(), 2), "\na\n");
    }
}
