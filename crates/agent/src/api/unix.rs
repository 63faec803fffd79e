//! The unix socket: who may use it, and what becomes of one that is there already.

use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};

use axum::Router;
use portcullis_web::{Accept, serve};
use rustix::fs::Gid;
use tokio::net::{UnixListener, UnixStream};

use super::serve::ServeError;

/// The group whose members may use the socket, where it exists.
const GROUP: &str = "portcullis";

/// The longest path of a socket (unix(7): 108 bytes with the NUL).
const PATH_MAX_BYTES: usize = 107;

/// The agent's socket, listening. Its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixEndpoint {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: the file is removed only while it is this one.
    identity: (u64, u64),
}

impl UnixEndpoint {
    /// Listens on `path`: mode 0660, group `portcullis` where it exists; directories that are
    /// missing are made. A socket nobody listens on is replaced.
    ///
    /// # Errors
    /// When another agent listens there, when something else is there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |what, source| ServeError::Socket { what, path: path.to_owned(), source };
        if path.as_os_str().len() > PATH_MAX_BYTES {
            let reason =
                format!("a socket's path has at most {PATH_MAX_BYTES} bytes; give a shorter --socket");
            return Err(failed("listen on", io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        make_parent(path).map_err(|e| failed("make the directory of", e))?;
        check_vacant(path)?;
        // Made under another name and moved when mode and group are right: nobody can connect too early.
        let fresh = beside(path);
        let _ = fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh).map_err(|e| failed("make the socket", e))?;
        let prepared = prepare(&fresh).and_then(|identity| fs::rename(&fresh, path).map(|()| identity));
        match prepared {
            Ok(identity) => Ok(Self { listener, path: path.to_owned(), identity }),
            Err(error) => {
                let _ = fs::remove_file(&fresh);
                Err(failed("set up the socket", error))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixEndpoint {
    fn drop(&mut self) {
        // A later agent may have put its own socket here.
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Accept for UnixEndpoint {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves `router` on the socket until `shutdown`; then the socket is gone.
pub async fn serve_unix(endpoint: UnixEndpoint, router: Router, shutdown: impl Future<Output = ()> + Send) {
    serve(endpoint, router, shutdown).await;
}

fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) else {
        return Ok(());
    };
    DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    // Whatever the umask says: members of the group must get through.
    fs::set_permissions(parent, Permissions::from_mode(0o755))
}

/// Refuses a path where somebody listens or that is no socket.
fn check_vacant(path: &Path) -> Result<(), ServeError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ServeError::Socket { what: "look at", path: path.to_owned(), source });
        }
    };
    if !found.file_type().is_socket() {
        return Err(ServeError::NotASocket { path: path.to_owned() });
    }
    match BlockingStream::connect(path) {
        Ok(stream) => {
            // The credentials are those of the process that called listen(2) (unix(7), SO_PEERCRED).
            let pid = rustix::net::sockopt::socket_peercred(&stream).ok();
            Err(ServeError::InUse {
                path: path.to_owned(),
                pid: pid.map(|peer| peer.pid.as_raw_nonzero().get()),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ServeError::Socket { what: "try the socket", path: path.to_owned(), source }),
    }
}

/// A name in the same directory, of this process alone.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".pc-{}", std::process::id()))
}

fn prepare(socket: &Path) -> io::Result<(u64, u64)> {
    if let Some(group) = group_id(&fs::read_to_string("/etc/group").unwrap_or_default(), GROUP) {
        rustix::fs::chown(socket, None, Some(Gid::from_raw(group)))?;
    }
    fs::set_permissions(socket, Permissions::from_mode(0o660))?;
    let made = fs::symlink_metadata(socket)?;
    Ok((made.dev(), made.ino()))
}

/// The number of a group by its name, from the text of `/etc/group` (group(5)).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nportcullis-test:x:7:\nportcullis:x:998:ada,bob\nbroken\n";
        assert_eq!(group_id(groups, "portcullis"), Some(998));
        assert_eq!(group_id(groups, "broken"), None);
        assert_eq!(group_id(groups, "port"), None);
    }
}
