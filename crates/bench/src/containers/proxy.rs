//! Between the agent and a real runtime: a socket whose connections can be broken.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// Passes everything on until it is dropped. As with [`super::scripted`], the main thread must be where the
/// runtime is.
pub struct Proxy {
    socket: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on `socket` in place of `runtime`.
    pub fn start(socket: PathBuf, runtime: &Path) -> Result<Self> {
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("listening on {}", socket.display()))?;
        let (open, stop): (Arc<Mutex<Vec<UnixStream>>>, _) =
            (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (connections, stopped, runtime) = (Arc::clone(&open), Arc::clone(&stop), runtime.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // Where this fails, the agent sees a connection that ends.
                let _ = join(near, &runtime, &connections);
            }
        });
        Ok(Self { socket, open, stop })
    }

    /// Path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Breaks every connection there is.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.cut();
        drop(UnixStream::connect(&self.socket));
    }
}

fn join(near: UnixStream, runtime: &Path, open: &Mutex<Vec<UnixStream>>) -> io::Result<()> {
    let far = UnixStream::connect(runtime)?;
    open.lock().unwrap_or_else(PoisonError::into_inner).push(far.try_clone()?);
    pass(near.try_clone()?, far.try_clone()?);
    pass(far, near);
    Ok(())
}

fn pass(mut from: UnixStream, mut to: UnixStream) {
    thread::spawn(move || {
        // A broken connection is an ended one.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
