//! Every program loads; how much the verifier had to do for it.

use anyhow::bail;
use portcullis_datapath::Settings;

use crate::Report;
use crate::kernel::Kernel;

/// Loads all programs and prints their instruction counts. `false`: one was refused.
pub fn check(report: &mut Report) -> bool {
    report.check("load", || {
        let mut kernel = Kernel::open("load", Settings::default())?;
        for program in kernel.opened.datapath.report()? {
            if program.verified_instructions == 0 {
                bail!("the kernel does not tell how many instructions of {} it verified", program.name);
            }
            println!("insns {} {}", program.name, program.verified_instructions);
            println!("machine code of {}: {} bytes", program.name, program.jited_len);
        }
        Ok(())
    })
}
