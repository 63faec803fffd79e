//! Boots a kernel in QEMU and collects what the check prints on the serial line.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{fetch::Kernel, report::Report};

/// A guest that hangs is stopped after this time; a good run takes a fraction of it.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Boots, waits for the power-off, and reads the results.
pub fn boot(kernel: &Kernel, initramfs: &Path, verbose: bool) -> Result<Report> {
    let log = kernel.serial_log();
    let started = Instant::now();
    let mut guest = start(kernel, initramfs, &log)?;
    let ended = wait(&mut guest)?;
    let output =
        String::from_utf8_lossy(&fs::read(&log).context("cannot read the serial line's log")?).into_owned();
    if verbose {
        println!("{output}");
    }
    let mut report = Report::parse(&output);
    report.duration = started.elapsed();
    if !ended {
        report.fail("guest", &format!("still running after {} s; see {}", TIMEOUT.as_secs(), log.display()));
    } else if !report.done {
        report.fail("guest", &format!("ended before the check was done; see {}", log.display()));
    }
    Ok(report)
}

fn start(kernel: &Kernel, initramfs: &Path, log: &Path) -> Result<Child> {
    let serial = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    Command::new("qemu-system-x86_64")
        // Without cx16: QEMU 7.2's emulation of cmpxchg16b can corrupt the flags, and Linux 6.12 uses it for
        // every allocation (seen as a kernel panic in __kmalloc).
        .args(["-accel", "tcg", "-cpu", "max,cx16=off", "-m", "1024"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        // A panic ends the guest at once; no mitigations, since emulation is slow enough.
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .stdin(Stdio::null())
        .stdout(serial)
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start qemu-system-x86_64: apt-get install qemu-system-x86 (or ./dev kernels)")
}

/// Whether the guest ended by itself; it is stopped otherwise.
fn wait(guest: &mut Child) -> Result<bool> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = guest.try_wait().context("cannot wait for QEMU")? {
            if !status.success() {
                bail!("QEMU failed ({status}); its messages are above");
            }
            return Ok(true);
        }
        if Instant::now() > deadline {
            guest.kill().context("cannot stop QEMU")?;
            guest.wait().context("cannot wait for QEMU")?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
