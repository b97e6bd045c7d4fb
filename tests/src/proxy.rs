//! A TCP proxy in front of a server: it cuts or freezes connections when a test says so, and counts
//! the round trips of PostgreSQL's protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy on a free port of 127.0.0.1, until its value is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Raised for each cut; connections end when it changes.
    cuts: watch::Sender<u64>,
    closed: AtomicBool,
    recovering: AtomicBool,
    /// Whether bytes stay where they are.
    frozen: watch::Sender<bool>,
    round_trips: AtomicU64,
}

impl Proxy {
    /// Starts one in front of `port`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own_port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            cuts: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            recovering: AtomicBool::new(false),
            frozen: watch::Sender::new(false),
            round_trips: AtomicU64::new(0),
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if shared.closed.load(Ordering::SeqCst) {
                        continue;
                    }
                    if shared.recovering.load(Ordering::SeqCst) {
                        tokio::spawn(refuse(client));
                        continue;
                    }
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                        tokio::spawn(carry(client, server, Arc::clone(&shared)));
                    }
                }
            }
        });
        Self { port: own_port, shared, accepting }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether new connections are closed at once.
    pub fn close(&self, closed: bool) {
        self.shared.closed.store(closed, Ordering::SeqCst);
    }

    /// Whether new connections are refused as PostgreSQL does while it mends what a crash has left.
    pub fn recover(&self, recovering: bool) {
        self.shared.recovering.store(recovering, Ordering::SeqCst);
    }

    /// Whether nothing is carried any more, while connections stay open and new ones are taken: a
    /// host that is gone without a word.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// How often PostgreSQL's client had to wait for its server: answers that end with
    /// `ReadyForQuery`, and those that let a COPY begin. Sessions must not be encrypted.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Refuses a client of PostgreSQL's protocol. Whoever goes before it is read is no failure.
async fn refuse(mut client: TcpStream) -> std::io::Result<()> {
    const SSL_REQUEST: u32 = 80_877_103;
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        let mut rest = vec![0; (length as usize).saturating_sub(8)];
        client.read_exact(&mut rest).await?;
        if code != SSL_REQUEST {
            break;
        }
        client.write_all(b"N").await?;
    }
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is in recovery mode\0\0";
    client.write_u8(b'E').await?;
    client.write_u32(fields.len() as u32 + 4).await?;
    client.write_all(fields).await?;
    client.shutdown().await
}

/// Waits until bytes are carried.
async fn thawed(shared: &Shared) {
    // An error means that the proxy is gone.
    let _ = shared.frozen.subscribe().wait_for(|frozen| !frozen).await;
}

async fn carry(mut client: TcpStream, mut server: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cuts.subscribe();
    let (mut client_read, mut client_write) = client.split();
    let (mut server_read, mut server_write) = server.split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = client_read.read(&mut buffer).await {
            thawed(&shared).await;
            if server_write.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        let mut messages = Messages::default();
        while let Ok(length @ 1..) = server_read.read(&mut buffer).await {
            let answers = messages.answers(&buffer[..length]);
            shared.round_trips.fetch_add(answers, Ordering::SeqCst);
            thawed(&shared).await;
            if client_write.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        // An error means that the proxy is gone.
        _ = cut.changed() => {}
    }
}

/// Finds the borders of the messages that PostgreSQL's server sends.
#[derive(Default)]
struct Messages {
    /// What is still to come of the message before.
    rest: usize,
    /// The type and the length of a message that has begun.
    head: Vec<u8>,
}

impl Messages {
    fn answers(&mut self, mut bytes: &[u8]) -> u64 {
        let mut answers = 0;
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            while self.head.len() < 5 && self.rest == 0 {
                let Some((&byte, others)) = bytes.split_first() else { break };
                self.head.push(byte);
                bytes = others;
            }
            if let &[kind, a, b, c, d] = self.head.as_slice() {
                // The length counts itself.
                self.rest = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
                answers += u64::from(kind == b'Z' || kind == b'G');
                self.head.clear();
            }
        }
        answers
    }
}
