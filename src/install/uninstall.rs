//! Taking daybook out again, without a trace.

use tokio_postgres::Client;

use super::{LEDGER, SOURCE, Script, check_right_to_install};
use crate::address::Address;
use crate::database::{Side, connect_plainly};
use crate::error::{Doing, Error, Result, explain};

macro_rules! uninstall_sql {
    ($path:literal) => {
        concat!(
            "SET search_path = pg_catalog, pg_temp;\n",
            include_str!($path),
            "\n",
            include_str!("../../sql/drop_roles.sql"),
            "\nRESET search_path;\n"
        )
    };
}

const UNINSTALL_SOURCE: &str = uninstall_sql!("../../sql/source/uninstall.sql");
const UNINSTALL_LEDGER: &str = uninstall_sql!("../../sql/ledger/uninstall.sql");

/// Takes daybook out of the source, and out of the ledger only where told; returns what was done, a line a side.
pub async fn uninstall(source: &Address, ledger: &Address, with_ledger: bool) -> Result<Vec<String>> {
    let mut done = Vec::new();
    if with_ledger {
        done.push(remove(&LEDGER, ledger, UNINSTALL_LEDGER).await?);
    }
    done.push(remove(&SOURCE, source, UNINSTALL_SOURCE).await?);
    if !with_ledger {
        done.push("the ledger stays".into());
    }
    Ok(done)
}

async fn remove(script: &Script, config: &Address, sql: &str) -> Result<String> {
    let client = connect_plainly(script.side, config).await?;
    let place = format!("the {} database {}", script.side.name(), config.get_dbname().unwrap_or_default());
    let there = client.query_one("SELECT to_regnamespace($1) IS NOT NULL", &[&script.schema]).await;
    let there: bool = there.doing("looking for the schema")?.get(0);
    check_right_to_install(&client, script.side).await?;
    client.batch_execute("SET client_min_messages = warning").await.doing("uninstalling")?;
    client.batch_execute(sql).await.map_err(|error| {
        Error::Unreachable(format!("uninstalling from {place}: {}; nothing was changed", explain(&error)))
    })?;
    if script.side == Side::Source {
        drop_slot_made_meanwhile(&client).await?;
    }
    Ok(match there {
        true => format!("schema {} is gone from {place}", script.schema),
        false => format!("there was no schema {} in {place}", script.schema),
    })
}

/// A consumer that was not stopped may have been making its slot anew while the schema went.
async fn drop_slot_made_meanwhile(client: &Client) -> Result<()> {
    // The application may have put operators of its own into the path.
    client.batch_execute("SET search_path = pg_catalog, pg_temp").await.doing("looking for the slot")?;
    let slot = "slot_name = (SELECT 'daybook_' || oid FROM pg_database WHERE datname = current_database()) AND database = current_database()";
    let end = format!("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE {slot} AND active");
    let drop =
        format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {slot} AND NOT active");
    let left = format!("SELECT EXISTS (SELECT FROM pg_replication_slots WHERE {slot})");
    for _ in 0..50 {
        if !client.query_one(&left, &[]).await.doing("looking for the slot")?.get::<_, bool>(0) {
            return Ok(());
        }
        client.batch_execute(&end).await.doing("ending the stream")?;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        if let Err(error) = client.batch_execute(&drop).await {
            tracing::debug!("dropping the slot: {}", explain(&error)); // somebody was quicker
        }
    }
    Err(Error::Unreachable(
        "daybook is gone, and its slot is held by a consumer: stop `daybook run`, and uninstall once more".into(),
    ))
}

/// The SQL that [`uninstall`] would run.
pub fn print_uninstall(with_ledger: bool) -> String {
    if with_ledger { format!("{UNINSTALL_LEDGER}\n{UNINSTALL_SOURCE}") } else { UNINSTALL_SOURCE.to_string() }
}
