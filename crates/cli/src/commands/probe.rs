//! `probe`: the adversarial suite against an endpoint, or against any interface.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use portcullis_policy::api::{CoverageRow, Endpoint};
use portcullis_policy::model::Direction;
use portcullis_probe::{Identity, Options, Overrides, Progress, suite};

use crate::args::ProbeArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::score::{self, CaseRow};

/// Runs the suite, or lists it.
pub fn run(context: &mut Context, args: ProbeArgs) -> Result<Exit> {
    if args.list {
        let cases = suite(&Identity::default());
        let rows: Vec<_> = cases.iter().map(CaseRow::from).collect();
        context.object(&rows, |style, _| score::list(&rows, style))?;
        return Ok(Exit::Done);
    }
    let options = options(context, &args)?;
    let card = portcullis_probe::run(&options, &mut meter())?;
    if let Some(file) = &args.junit {
        std::fs::write(file, card.junit()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    context.object(&card, |style, wide| score::card(&card, style, args.all || wide))?;
    Ok(if card.held() { Exit::Done } else { Exit::Failed })
}

fn options(context: &Context, args: &ProbeArgs) -> Result<Options> {
    let mut options = match &args.endpoint {
        Some(name) => {
            let client = context.client()?;
            let endpoint = client.endpoint(name)?;
            let mut options = of_endpoint(&endpoint, &client.status()?.coverage)?;
            if let Some(interface) = &args.interface {
                options.interface.clone_from(interface);
            }
            options
        }
        None => {
            let interface = args.interface.as_deref().unwrap_or_default();
            Options { netns: args.netns.clone(), ..Options::new(interface) }
        }
    };
    options.to.clone_from(&args.to);
    options.to_interface.clone_from(&args.to_interface);
    Ok(options)
}

/// Where the workload of an endpoint sits: on the interface itself where that is bound from
/// inside, else at the other end of the pair.
fn of_endpoint(endpoint: &Endpoint, coverage: &[CoverageRow]) -> Result<Options> {
    let netns = endpoint.interface.netns.as_ref().map(PathBuf::from);
    let mut options = Options::new(endpoint.interface.name.clone());
    options.overrides = overrides(endpoint);
    if endpoint.direction == Direction::Egress {
        options.netns = netns;
        return Ok(options);
    }
    let row = coverage.iter().find(|row| row.endpoint.as_ref() == Some(&endpoint.name));
    let place = row.and_then(|row| row.peer.as_deref()).and_then(|peer| peer.split_once(" in "));
    let Some((interface, inside)) = place.filter(|(_, inside)| inside.starts_with('/')) else {
        return Err(Failure::not_found(format!(
            "the agent does not know where the workload of \"{}\" is: name it with --netns PATH --interface IF",
            endpoint.name
        )));
    };
    options.netns = Some(inside.into());
    options.interface = interface.to_owned();
    options.host_netns = netns;
    Ok(options)
}

/// What the agent knows better than the namespace shows it: the bound addresses and MAC. What the
/// namespace has beyond these is no honest source.
fn overrides(endpoint: &Endpoint) -> Overrides {
    let addresses: Vec<IpAddr> =
        endpoint.addresses.iter().chain(&endpoint.learned).filter_map(|text| text.parse().ok()).collect();
    Overrides {
        mac: endpoint.macs.first().and_then(|text| text.parse().ok()),
        addresses: (!addresses.is_empty()).then_some(addresses),
        ..Overrides::default()
    }
}

/// Progress on standard error, where somebody watches.
fn meter() -> impl FnMut(Progress) {
    let watched = std::io::stderr().is_terminal();
    move |progress| {
        if !watched {
            return;
        }
        let end = if matches!(progress, Progress::Waiting) { "\r\x1b[K" } else { "" };
        let text = match progress {
            Progress::FarSide(name) => format!("listening on {name}"),
            Progress::Identity(_) => return,
            Progress::Case { done, total, id } => format!("{:>3} of {total}  {id}", done + 1),
            Progress::Waiting => "waiting for late frames".to_owned(),
        };
        // It is only a meter.
        let _closed = write!(std::io::stderr(), "\r\x1b[K{}{end}", crate::output::clean(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn an_endpoint_is_attacked_from_the_other_end_of_its_pair() {
        let coverage = fixture::status().coverage;
        let options = of_endpoint(&fixture::endpoints()[0], &coverage).unwrap();
        assert_eq!(options.netns, Some("/run/netns/web".into()));
        assert_eq!(options.interface, "eth0");
        assert_eq!(options.overrides.addresses.map(|list| list.len()), Some(3));
        let error = of_endpoint(&fixture::endpoints()[1], &coverage).unwrap_err();
        assert!(error.to_string().contains("--netns"), "{error}");
    }

    #[test]
    fn an_interface_bound_from_inside_is_attacked_there() {
        let mut endpoint = fixture::endpoints().remove(1);
        endpoint.direction = Direction::Egress;
        let options = of_endpoint(&endpoint, &[]).unwrap();
        assert_eq!(options.netns, Some("/run/netns/db".into()));
        assert_eq!(options.interface, "eth0");
    }
}
