//! The shield: its programs load, say what they must, and stand on interfaces.

mod frames;
mod live;
mod novel;
mod verdicts;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use portcullis_abi::DropReason;
use portcullis_datapath::shield::{Kind, Profile, Program, Shield, Table};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::list6::List6;
use portcullis_policy::shield::rules::{Compiled, Rule};

use crate::Report;
use crate::kernel::base;

/// All of it.
pub fn check(report: &mut Report) {
    // Where a program is refused nothing else can work.
    if report.check("shield-load", load) {
        verdicts::check(report);
        novel::check(report);
        live::check(report);
    }
}

fn load() -> Result<()> {
    let mut fort = Fort::open("shield-load")?;
    for program in fort.shield.report()? {
        match program.verified_instructions {
            0 => println!("insns {} unknown", program.name),
            count => println!("insns {} {count}", program.name),
        }
        println!("machine code of {}: {} bytes", program.name, program.jited_len);
    }
    Ok(())
}

/// A shield of its own; gone when this is dropped.
struct Fort {
    shield: Shield,
    profile: Profile,
    base: PathBuf,
}

impl Fort {
    fn open(name: &str) -> Result<Self> {
        let base = base(name);
        let shield = Shield::open(&base).context("opening the shield")?;
        let profile = Profile::new(5).context("there are fewer firewalls than that")?;
        Ok(Self { shield, profile, base })
    }

    fn block4(&self, list: &List4) -> Result<()> {
        let mut table = Table::new(Kind::List4)?;
        list.compile(&mut table).map_err(|_| anyhow::anyhow!("the IPv4 list does not fit"))?;
        Ok(self.shield.publish(self.profile, &table)?)
    }

    fn block6(&self, list: &List6) -> Result<()> {
        let mut table = Table::new(Kind::List6(list.shape().lines()))?;
        list.compile(&mut table).map_err(|_| anyhow::anyhow!("the IPv6 list does not fit"))?;
        Ok(self.shield.publish(self.profile, &table)?)
    }

    fn rule(&self, rules: &[Rule]) -> Result<()> {
        let mut table = Table::new(Kind::Rules)?;
        let number = |name: &str| rules.iter().position(|rule| rule.name == name).unwrap_or_default() as u16;
        Compiled::write(rules, number, &mut table).map_err(|_| anyhow::anyhow!("the rules do not fit"))?;
        Ok(self.shield.publish(self.profile, &table)?)
    }

    /// Whether a frame is dropped; both hooks must say the same of it.
    fn drops(&mut self, frame: &[u8]) -> Result<bool> {
        const XDP: [i32; 2] = [2, 1];
        const TC: [i32; 2] = [-1, 2];
        let said = |actions: [i32; 2], action: i32| match actions.iter().position(|known| *known == action) {
            Some(drops) => Ok(drops == 1),
            None => bail!("a program returned {action}"),
        };
        let xdp = said(XDP, self.shield.test(self.profile, Program::Xdp, frame, 1)?.action)?;
        let tc = said(TC, self.shield.test(self.profile, Program::Tc, frame, 1)?.action)?;
        if xdp != tc {
            bail!("XDP drops it: {xdp}; tc does: {tc}");
        }
        Ok(xdp)
    }

    fn expect(&mut self, what: &str, frame: &[u8], drops: bool) -> Result<()> {
        let dropped = self.drops(frame).with_context(|| what.to_owned())?;
        if dropped != drops {
            bail!("{what}: dropped is {dropped}");
        }
        Ok(())
    }

    fn dropped(&self, reason: DropReason) -> Result<u64> {
        Ok(self.shield.counters(self.profile)?.reasons[usize::from(reason.number())])
    }
}

impl Drop for Fort {
    fn drop(&mut self) {
        self.shield.unpin_all();
        let _not_empty = std::fs::remove_dir(&self.base);
    }
}
