//! TLS for the walsender, by the same rules as for every other connection: a socket in a private directory, from which one connection is
//! carried to the server, encrypted. The library behind [`super::transport`] has a TLS of its own, which trusts by other rules.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::transport::Refused;
use crate::address::Address;

/// The way to one server. Dropping it closes the way.
pub struct Tunnel {
    directory: PathBuf,
    carrier: JoinHandle<()>,
}

/// What PostgreSQL is asked first: whether it speaks TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How long the server may take to agree.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Tunnel {
    /// The port that names the socket.
    pub const PORT: u16 = 5432;

    /// A way to the server, where the connection string wants TLS and the server has it; `None` where there is to be none.
    pub async fn where_wanted(address: &Address, host: &str, port: u16) -> Result<Option<Tunnel>, Refused> {
        if address.get_ssl_mode() == SslMode::Disable {
            return Ok(None);
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, Tunnel::dig(address, host, port)).await {
            Ok(tunnel) => tunnel,
            Err(_) => Err(io::Error::other("no answer to the question for TLS")),
        }
    }

    async fn dig(address: &Address, host: &str, port: u16) -> Result<Option<Tunnel>, Refused> {
        let mut server = TcpStream::connect((host, port)).await?;
        server.set_nodelay(true)?;
        server.write_all(&SSL_REQUEST).await?;
        match server.read_u8().await? {
            b'S' => {}
            _ if address.get_ssl_mode() == SslMode::Prefer => return Ok(None),
            _ => return Err(io::Error::other("the server does not speak TLS, and sslmode asks for it")),
        }
        let mut connector = address.tls.clone();
        let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, host).map_err(io::Error::other)?;
        let encrypted = connect.connect(server).await?;

        let name = format!("daybook-tls-{}-{:016x}", std::process::id(), rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let carrier = match UnixListener::bind(directory.join(format!(".s.PGSQL.{}", Self::PORT))) {
            Ok(listener) => tokio::spawn(carry(listener, encrypted)),
            Err(error) => {
                remove(&directory);
                return Err(error);
            }
        };
        Ok(Some(Tunnel { directory, carrier }))
    }

    /// Where its socket is.
    pub fn directory(&self) -> String {
        self.directory.display().to_string()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.carrier.abort();
        remove(&self.directory);
    }
}

/// Carries one connection, until either side closes it.
async fn carry(listener: UnixListener, mut server: impl AsyncRead + AsyncWrite + Unpin) {
    if let Ok((mut client, _)) = listener.accept().await
        && let Err(error) = copy_bidirectional(&mut client, &mut server).await
    {
        tracing::debug!("the encrypted stream ended: {error}");
    }
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::debug!("could not remove {}: {error}", directory.display());
    }
}
