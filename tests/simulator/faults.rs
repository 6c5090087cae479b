//! What goes wrong. Each fault ends by itself, so that a plan without it is still a plan, and several may overlap.

use std::sync::Arc;
use std::time::Duration;

use daybook::private_server::PrivateServer;
use tokio_postgres::Client;

use crate::application::connect;
use crate::plan::{Fault, Side};
use crate::proxy::Mode;
use crate::world::World;

/// Lets a fault happen, from beginning to end.
pub async fn strike(world: Arc<World>, fault: Fault) {
    let pause = |ms: u64| tokio::time::sleep(Duration::from_millis(ms));
    match fault {
        Fault::KillConsumer { process } => world.consumers.kill(process),
        Fault::StopConsumer { process, ms } => {
            world.consumers.freeze(process, true);
            pause(ms).await;
            world.consumers.freeze(process, false);
        }
        Fault::CrashServer { side, ms } => restart(&world, side, ms, PrivateServer::crash).await,
        Fault::RestartServer { side, ms } => restart(&world, side, ms, PrivateServer::stop).await,
        Fault::ReadOnlyLedger { ms } => read_only(&world, ms).await,
        Fault::Cut { side, ms } => through(&world, side, Mode::Cut, ms).await,
        Fault::Delay { side, each, ms } => through(&world, side, Mode::Delay(each), ms).await,
        Fault::Swallow { side, ms } => through(&world, side, Mode::Swallow, ms).await,
        Fault::LoseAnswers { side, ms } => through(&world, side, Mode::LoseAnswers, ms).await,
        Fault::TerminateConsumers { side } => signal(&world, side, "pg_terminate_backend", "bookkeeper").await,
        Fault::TerminateEverybody { side } => signal(&world, side, "pg_terminate_backend", "%").await,
        Fault::CancelConsumers { side } => signal(&world, side, "pg_cancel_backend", "bookkeeper").await,
        Fault::ExhaustConnections { side, ms } => exhaust(&world, side, ms).await,
        Fault::LockTable { side, table, ms } => {
            let lock = format!("SET lock_timeout = '300ms'; BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
            let Some(holder) = admin(&world, side).await else { return };
            if holder.batch_execute(&lock).await.is_ok() {
                pause(ms).await;
            }
            let _ = holder.batch_execute("ROLLBACK").await;
        }
        Fault::DropSlot { makes_it_anew } => drop_slot(&world, makes_it_anew).await,
        Fault::ImpatientWalsender { ms } => {
            set_patience(&world, "SET wal_sender_timeout = '200ms'").await;
            pause(ms).await;
            set_patience(&world, "RESET wal_sender_timeout").await;
        }
        Fault::PromoteSource { ms } => promote(&world, ms).await,
        Fault::FullDisk { side, ms } => {
            full_disk(&world, side, true).await;
            pause(ms).await;
            full_disk(&world, side, false).await;
        }
    }
}

/// Ends the walsender, drops its slot, and makes another one of its name where that is wanted and nobody was quicker.
async fn drop_slot(world: &World, makes_it_anew: bool) {
    let Some(dba) = admin(world, Side::Source).await else { return };
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = daybook.slot_name() AND active";
    let drop =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = daybook.slot_name()";
    for _ in 0..20 {
        let _ = dba.batch_execute(end).await;
        if dba.batch_execute(drop).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if makes_it_anew && let Ok(statement) = dba.query_one("SELECT daybook.slot_statement()", &[]).await {
        // It waits for prepared transactions, which end after the faults.
        let _ = dba.batch_execute("SET statement_timeout = '2s'").await;
        let _ = dba.batch_execute(statement.get(0)).await;
    }
}

async fn through(world: &World, side: Side, mode: Mode, ms: u64) {
    world.proxy(side).set(mode);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    world.proxy(side).set(Mode::Pass);
}

/// Ends a server, and starts it again. Whoever ends it holds it until it is back, so that faults of one server follow each
/// other.
async fn restart(world: &World, side: Side, ms: u64, end: fn(&mut PrivateServer) -> daybook::error::Result<()>) {
    let mut server = world.server(side).clone().lock_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        end(&mut server)?;
        std::thread::sleep(Duration::from_millis(ms));
        server.start_again()
    });
    done.await.expect("ends").expect("the server comes back");
}

/// The ledger is a standby for a while, as after a failover that went wrong.
async fn read_only(world: &World, ms: u64) {
    let mut server = world.server(Side::Ledger).clone().lock_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        server.stop()?;
        server.start_read_only()?;
        std::thread::sleep(Duration::from_millis(ms));
        server.stop()?;
        server.start_again()
    });
    done.await.expect("ends").expect("the server comes back");
}

async fn set_patience(world: &World, setting: &str) {
    let sql = format!("ALTER SYSTEM {setting}");
    for _ in 0..100 {
        if let Some(dba) = admin(world, Side::Source).await
            && dba.batch_execute(&sql).await.is_ok()
            && dba.batch_execute("SELECT pg_reload_conf()").await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn promote(world: &World, ms: u64) {
    let mut server = world.server(Side::Source).clone().lock_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        server.stop()?;
        std::thread::sleep(Duration::from_millis(ms));
        server.start_promoted()
    });
    done.await.expect("ends").expect("the standby takes over");
}

async fn signal(world: &World, side: Side, function: &str, user: &str) {
    let sql = format!(
        "SELECT {function}(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename LIKE '{user}'"
    );
    if let Some(admin) = admin(world, side).await {
        let _ = admin.batch_execute(&sql).await;
    }
}

/// Takes every connection that is left, but those that are kept for superusers.
async fn exhaust(world: &World, side: Side, ms: u64) {
    let mut taken: Vec<Client> = Vec::new();
    while taken.len() < 100 {
        match connect(&world.url(side, "desk")).await {
            Ok(client) => taken.push(client),
            Err(_) => break,
        }
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A disk cannot be filled without harm; the tables where the consumer writes say what the server would say then.
async fn full_disk(world: &World, side: Side, is_full: bool) {
    let table = match side {
        Side::Source => "daybook.sync_audit_log",
        Side::Ledger => "ledger.journal_lines",
    };
    let fill = format!(
        "SET lock_timeout = '300ms';
         CREATE OR REPLACE FUNCTION public.disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END$$;
         CREATE TRIGGER disk_is_full BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION public.disk_is_full();"
    );
    let clear = format!("SET lock_timeout = '300ms'; DROP TRIGGER IF EXISTS disk_is_full ON {table}");
    let sql = if is_full { fill } else { clear };
    let tries = if is_full { 1 } else { 200 };
    for _ in 0..tries {
        if let Some(admin) = admin(world, side).await
            && admin.batch_execute(&sql).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if !is_full {
        world.found("simulator: the trigger that says the disk is full cannot be dropped".into());
    }
}

async fn admin(world: &World, side: Side) -> Option<Client> {
    connect(&world.url(side, "postgres")).await.ok()
}
