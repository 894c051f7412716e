//! The owner's socket: a way in for whoever owns the gateway's files, when nobody else can come in
//! any more. It lies in the gateway's folder, and the system says who is at its other end.

use std::{io, path::Path, sync::Arc};

use crate::hub::Hub;

/// The socket, bound and listening. Its file goes away with it.
#[derive(Debug)]
pub struct OwnerSocket {
    #[cfg(unix)]
    inner: unix::Bound,
    #[cfg(not(unix))]
    inner: std::convert::Infallible,
}

impl OwnerSocket {
    /// Binds the socket with mode 0600, in place of one that an earlier gateway left. Only one
    /// gateway may do so at a time: the caller holds the lock of the folder.
    ///
    /// # Errors
    /// When something else lies there, when the path is too long for a socket (about 100 bytes), or
    /// on systems without such sockets.
    pub fn bind(path: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        return unix::Bound::new(path).map(|inner| Self { inner });
        #[cfg(not(unix))]
        {
            let _ = path;
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Accepts for as long as it is polled.
    pub(crate) async fn accept(
        self,
        hub: Arc<Hub>,
        executor: Arc<smol::Executor<'static>>,
    ) -> io::Result<()> {
        #[cfg(unix)]
        return self.inner.accept(hub, executor).await;
        #[cfg(not(unix))]
        {
            let _ = (hub, executor);
            match self.inner {}
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        fs, io,
        os::unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
        path::{Path, PathBuf},
        sync::Arc,
        time::{Duration, Instant},
    };

    use smol::{Async, lock::Semaphore};
    use tracing::{debug, warn};

    use crate::{
        conn::{self, Arrival},
        hub::Hub,
        socket::Socket,
    };

    /// Connections of the owner that may be open at once.
    const MAX_OPEN: usize = 64;

    /// Pause after a failed accept.
    const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

    #[derive(Debug)]
    pub(super) struct Bound {
        listener: UnixListener,
        path: PathBuf,
    }

    impl Bound {
        pub(super) fn new(path: &Path) -> io::Result<Self> {
            match fs::symlink_metadata(path) {
                Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let listener = UnixListener::bind(path)?;
            // The folder is closed to others already.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok(Self {
                listener,
                path: path.to_owned(),
            })
        }

        pub(super) async fn accept(
            self,
            hub: Arc<Hub>,
            executor: Arc<smol::Executor<'static>>,
        ) -> io::Result<()> {
            let listener = Async::new(self.listener.try_clone()?)?;
            let places = Arc::new(Semaphore::new(MAX_OPEN));
            loop {
                let place = places.acquire_arc().await;
                let stream = match listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        warn!(%error, "cannot accept the owner's connections; trying again");
                        smol::Timer::after(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                match is_owner(stream.get_ref()) {
                    Ok(true) => {
                        let hub = Arc::clone(&hub);
                        let until = Instant::now() + hub.limits().request_head;
                        executor
                            .spawn(async move {
                                let socket = Socket(stream);
                                conn::serve(socket, Arrival::Owner, hub, until, ()).await;
                                drop(place);
                            })
                            .detach();
                    }
                    Ok(false) => warn!("another user was turned away from the owner's socket"),
                    Err(error) => debug!(%error, "the system does not say who came"),
                }
            }
        }
    }

    impl Drop for Bound {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Whether the other end runs as the user that this process runs as, or as root, who can read
    /// every file anyway.
    fn is_owner(stream: &UnixStream) -> io::Result<bool> {
        let peer = peer_uid(stream)?;
        Ok(peer == rustix::process::geteuid().as_raw() || peer == 0)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
        Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
    }
}
