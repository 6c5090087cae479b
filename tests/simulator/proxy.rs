//! A small proxy between the consumers and a server, which can delay, lose and cut what passes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How many there were, so that each is delayed in a way of its own.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Pass,
    /// On every other connection each takes up to so many milliseconds more, so that whoever was first may come last.
    Delay(u64),
    /// None arrives, in either direction, and nobody is told.
    Swallow,
    /// The server hears everything, and its answers do not arrive.
    LoseAnswers,
    /// Every connection ends, and each new one at once.
    Cut,
}

impl Mode {
    /// A connection that has lost a message is of no use afterwards: it is cut when the mode changes.
    fn loses(self) -> bool {
        matches!(self, Mode::Swallow | Mode::LoseAnswers)
    }
}

/// Listens on a port of the loopback interface until it is dropped; then every connection ends.
pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// `socket`: the server's.
    pub async fn start(socket: PathBuf) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("has an address").port();
        let (mode, changes) = watch::channel(Mode::Pass);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(connect(client, socket.clone(), changes.clone()));
            }
        });
        Proxy { port, mode, listening }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn connect(client: TcpStream, socket: PathBuf, mut changes: watch::Receiver<Mode>) {
    let mut mode = *changes.borrow_and_update();
    if mode == Mode::Cut {
        return;
    }
    let Ok(server) = UnixStream::connect(socket).await else { return };
    let _ = client.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let questions = carry(from_client, to_server, changes.clone(), number, false);
    let answers = carry(from_server, to_client, changes.clone(), number, true);
    tokio::pin!(questions, answers);
    loop {
        tokio::select! {
            () = &mut questions => return,
            () = &mut answers => return,
            changed = changes.changed() => {
                let now = *changes.borrow_and_update();
                if changed.is_err() || now == Mode::Cut || mode.loses() {
                    return;
                }
                mode = now;
            }
        }
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mode: watch::Receiver<Mode>,
    number: u64,
    is_answer: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut random = StdRng::seed_from_u64(number);
    let is_slow = random.random_bool(0.5);
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let mode = *mode.borrow();
        match mode {
            Mode::Swallow => continue,
            Mode::LoseAnswers if is_answer => continue,
            Mode::Delay(ms) if is_slow => tokio::time::sleep(Duration::from_millis(random.random_range(0..=ms))).await,
            _ => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
