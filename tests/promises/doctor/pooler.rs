//! A pooler in transaction mode, as small as can be: all clients are lent one server process, from the first message of a
//! transaction to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::{ERROR, Folder, Patient};
use crate::harness::Clinic;

const SOCKET: &str = ".s.PGSQL.5432";

/// The server process that is lent out.
type Lent = Arc<Mutex<Option<UnixStream>>>;

/// Passes one message on; its type was read already. Returns the first byte of its body.
async fn pass(tag: Option<u8>, from: &mut UnixStream, to: &mut UnixStream) -> std::io::Result<u8> {
    let length = from.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    from.read_exact(&mut body).await?;
    if let Some(tag) = tag {
        to.write_u8(tag).await?;
    }
    to.write_u32(length).await?;
    to.write_all(&body).await?;
    Ok(body.first().copied().unwrap_or_default())
}

/// Passes the server's answer on until it is ready; whether no transaction is open then.
async fn answer(server: &mut UnixStream, client: &mut UnixStream) -> std::io::Result<bool> {
    loop {
        let tag = server.read_u8().await?;
        let first = pass(Some(tag), server, client).await?;
        if tag == b'Z' {
            return Ok(first == b'I');
        }
    }
}

async fn serve(mut client: UnixStream, socket: PathBuf, lent: Lent) -> std::io::Result<()> {
    let mut own = UnixStream::connect(&socket).await?;
    pass(None, &mut client, &mut own).await?;
    answer(&mut own, &mut client).await?;
    lent.lock().await.get_or_insert(own);
    loop {
        let mut tag = client.read_u8().await?;
        let mut lent = lent.lock().await;
        let server = lent.as_mut().expect("is there since the first client");
        loop {
            if tag == b'X' {
                return Ok(());
            }
            pass(Some(tag), &mut client, server).await?;
            if matches!(tag, b'Q' | b'S') && answer(server, &mut client).await? {
                break;
            }
            tag = client.read_u8().await?;
        }
    }
}

fn start(folder: &Path, socket: PathBuf) {
    let listener = UnixListener::bind(folder.join(SOCKET)).expect("listens");
    let lent = Lent::default();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, socket.clone(), lent.clone()));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_notices_a_pooler_in_transaction_mode() {
    let clinic = Clinic::new().await;
    let folder = Folder::new();
    let Some(tokio_postgres::config::Host::Unix(server)) = clinic.source.get_hosts().first() else {
        panic!("test servers listen on sockets");
    };
    start(&folder.0, server.join(SOCKET));
    let url = format!("host={} user=postgres dbname={}", folder.0.display(), clinic.database);
    let pooled = daybook::address::parse_url(daybook::database::Side::Source, &url).expect("our own URL");
    let patient = Patient::with(&pooled, &pooled, &clinic.dba, &clinic.accountant);
    let findings = patient.findings().await;
    let checks: Vec<_> =
        findings.iter().map(|finding| (finding.check, finding.severity, finding.subject.as_str())).collect();
    assert_eq!(checks, [("pooling", ERROR, "source"), ("pooling", ERROR, "ledger")], "{findings:?}");
    assert!(findings[0].fix.contains("--source-url"));
    Patient::of(&clinic).is_content().await;
}
