//! The people at work: sessions of the legacy application, and the DBA. What may go wrong for them is what would go wrong
//! without daybook, too; anything else is a finding.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use tokio_postgres::{Client, Error, NoTls};

use crate::plan::{Act, Side, Statement, Step, Transaction};
use crate::world::World;

/// How long a step may take before somebody is said to hang.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Does the steps of one session in their order, each at its time or as soon as the one before it is done.
pub async fn work(world: Arc<World>, mut steps: VecDeque<Step>, user: &'static str) {
    let mut sessions: [Option<Client>; 2] = [None, None];
    while let Some(step) = steps.pop_front() {
        world.sleep_until(step.at).await;
        let side = match &step.act {
            Act::Administer { on, .. } => *on,
            _ => Side::Source,
        };
        let session = &mut sessions[usize::from(side == Side::Ledger)];
        if session.as_ref().is_none_or(Client::is_closed) {
            *session = reconnect(&world, side, user).await;
        }
        let Some(client) = session else {
            world.count(user, "server away");
            continue;
        };
        let done = async {
            match &step.act {
                Act::Transact(transaction) => transact(&world, client, transaction).await,
                Act::Administer { sql, .. } => client.batch_execute(sql).await,
                Act::Strike(_) => Ok(()),
            }
        };
        match tokio::time::timeout(STEP_MAX, done).await {
            Ok(Ok(())) => world.count(user, "done"),
            Ok(Err(error)) => {
                world.count(user, error.code().map_or("connection lost", |state| state.code()));
                if let Some(why) = judge(&error, user) {
                    world.found(format!("{why}\n  while: {step}\n  {error:?}"));
                }
                let _ = client.batch_execute("ROLLBACK").await;
            }
            Err(_) => {
                world.found(format!("a session of {user} hangs for {STEP_MAX:?}\n  while: {step}"));
                *session = None;
            }
        }
    }
}

/// Waits a while for a server that is away; the step is left out when it stays away.
async fn reconnect(world: &World, side: Side, user: &str) -> Option<Client> {
    for _ in 0..40 {
        match connect(&world.url(side, user)).await {
            Ok(client) => {
                // Shorter than what a deadlock takes to be found.
                let limit = if user == "postgres" { "600ms" } else { "1500ms" };
                let _ = client
                    .batch_execute(&format!("SET lock_timeout = '{limit}'; SET client_min_messages = warning"))
                    .await;
                return Some(client);
            }
            Err(error) => {
                if let Some(why) = judge(&error, user) {
                    world.found(format!("{why}\n  while connecting: {error:?}"));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

pub async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn transact(world: &World, client: &Client, transaction: &Transaction) -> Result<(), Error> {
    let database = world.database(Side::Source);
    let named = |sql: &str| sql.replace("{database}", database);
    if !transaction.begin.is_empty() {
        client.batch_execute(&transaction.begin).await?;
    }
    for statement in &transaction.statements {
        match statement {
            Statement::Sql(sql) if sql.starts_with("MERGE") && !world.has_merge => {}
            Statement::Sql(sql) => client.batch_execute(&named(sql)).await?,
            Statement::Copy { sql, rows } => {
                let sink = client.copy_in::<_, bytes::Bytes>(sql.as_str()).await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(bytes::Bytes::from(rows.clone())).await?;
                sink.finish().await?;
            }
            Statement::Pause(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
        }
    }
    if !transaction.end.is_empty() {
        client.batch_execute(&named(&transaction.end)).await?;
    }
    Ok(())
}

/// What is normal for an application on a busy server that sometimes dies: SQLSTATE and condition.
const NORMAL: [&str; 17] = [
    "57P01", // admin_shutdown
    "57P02", // crash_shutdown
    "57P03", // cannot_connect_now
    "53300", // too_many_connections
    "40001", // serialization_failure
    "40P01", // deadlock_detected
    "55P03", // lock_not_available
    "23505", // unique_violation
    "25P02", // in_failed_sql_transaction
    "53200", // out_of_memory: too many prepared transactions
    "42704", // undefined_object: the prepared transaction was rolled back by a crash
    "55006", // object_in_use
    "55000", // object_not_in_prerequisite_state: the prepared transaction is busy
    "25006", // read_only_sql_transaction
    "42703", // undefined_column, while the vendor makes it anew
    "42710", // duplicate_object: its name after a commit whose answer was lost
    "42701", // duplicate_column
];

/// What a DBA may be told besides.
const NORMAL_FOR_DBA: [&str; 3] = [
    "23000", // integrity_constraint_violation: the account has lines
    "P0001", // raise_exception
    "57014", // query_canceled
];

/// Why this is a finding; `None` where it is normal.
fn judge(error: &Error, user: &str) -> Option<String> {
    let Some(error) = error.as_db_error() else {
        return None; // the connection was lost
    };
    let code = error.code().code();
    if error.message() == "cannot use serializable mode in a hot standby" {
        return None; // a standby that is about to take over
    }
    let is_ending = code.starts_with("57P");
    if user == "postgres" {
        let is_normal = NORMAL.contains(&code) || NORMAL_FOR_DBA.contains(&code);
        return (!is_normal).then(|| format!("the DBA's statement fails: {code} {}", error.message()));
    }
    let told = [Some(error.message()), error.where_(), error.detail(), error.hint()];
    if !is_ending && told.iter().flatten().any(|text| text.contains("daybook")) {
        return Some(format!("the application is told of daybook: {code} {}", error.message()));
    }
    (!NORMAL.contains(&code)).then(|| format!("the application's write fails: {code} {}", error.message()))
}
