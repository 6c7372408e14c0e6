//! Doors: what listens on a host's loopback is reached at the same address outside.
//!
//! A connection that is made to a door is made inside as well, and bytes go both ways between the two. The network of the
//! hosts has no part in it, so a test sees and asks whoever is cut off. It does not know what the bytes say.

use std::{
    fs::File,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::names::Namespace;

type Wish = (SocketAddr, mpsc::Sender<io::Result<TcpStream>>);

/// A thread that lives in a namespace and connects from there.
#[derive(Clone, Debug)]
pub(super) struct Inside(Arc<Mutex<mpsc::Sender<Wish>>>);

impl Inside {
    pub(super) fn of(namespace: &Namespace) -> Self {
        let file = File::open(namespace.path()).unwrap();
        let (sender, wishes) = mpsc::channel::<Wish>();
        thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            for (address, answer) in wishes {
                let _ = answer.send(TcpStream::connect(address));
            }
        });
        Self(Arc::new(Mutex::new(sender)))
    }

    /// Connects to an address of the host itself, which takes no time.
    pub(super) fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let (answer, answered) = mpsc::channel();
        let ended = || io::Error::other("the thread of this host has ended");
        self.0.lock().unwrap().send((address, answer)).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?
    }
}

/// See the module. It is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    is_closed: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Door {
    pub(super) fn open(address: SocketAddr, inside: &Inside) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("a door at {address}: {error}"));
        let (is_closed, inside) = (Arc::new(AtomicBool::new(false)), inside.clone());
        let is_over = Arc::clone(&is_closed);
        let thread = thread::spawn(move || {
            for outer in listener.incoming().map_while(Result::ok) {
                if is_over.load(Relaxed) {
                    return;
                }
                // Where nobody listens inside, the connection ends at once.
                if let Ok(inner) = inside.connect(address) {
                    pass_on(&outer, &inner);
                }
            }
        });
        Self { address, is_closed, thread: Some(thread) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.is_closed.store(true, Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Passes bytes on both ways until either side ends.
fn pass_on(outer: &TcpStream, inner: &TcpStream) {
    for (from, to) in [(outer, inner), (inner, outer)] {
        let _ = from.set_nodelay(true);
        if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
            thread::spawn(move || {
                let copied = io::copy(&mut from, &mut to);
                // One that was reset is no proper end: nothing more goes either way.
                let what = if copied.is_ok() { Shutdown::Write } else { Shutdown::Both };
                let _ = to.shutdown(what);
                if copied.is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                }
            });
        }
    }
}
