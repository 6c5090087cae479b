//! A name without schema means PostgreSQL's own.
//!
//! Whoever owns a database sets its search_path, and whoever may create functions in a schema of that path can shadow what we
//! call by name: their code would run with the rights of whoever installs, a superuser. Never for sessions in which a person names
//! tables of the application.

use tokio_postgres::{Client, Config};

use crate::database::{Side, connect};
use crate::error::{Doing, Result};

/// Connects as the login role itself, to a session that looks names up in pg_catalog alone, whatever role and database are set to.
pub async fn connect_plainly(side: Side, config: &Config) -> Result<Client> {
    let client = connect(side, config).await?;
    client.batch_execute("SET search_path = pg_catalog, pg_temp").await.doing("setting up the session")?;
    Ok(client)
}
