//! Every program loads; how much the verifier had to do for it.

use portcullis_datapath::Settings;

use crate::Report;
use crate::kernel::Kernel;

/// Loads all programs and prints their instruction counts. `false`: one was refused.
pub fn check(report: &mut Report) -> bool {
    report.check("load", || {
        let mut kernel = Kernel::open("load", Settings::default())?;
        for program in kernel.opened.datapath.report()? {
            let machine_code = program.jited_len;
            match program.verified_instructions {
                // Known since 5.16 (commit aba64c7da983).
                0 => println!("insns {} unknown", program.name),
                count => println!("insns {} {count}", program.name),
            }
            println!("machine code of {}: {machine_code} bytes", program.name);
        }
        Ok(())
    })
}
