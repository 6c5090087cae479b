//! Who a source is and which book its bills belong to: wished at the first installation, fixed from then on.

use tokio_postgres::Client;

use crate::error::{Doing, Error, Result};

/// What a person says of the source and its book at installation; what is left out keeps its present or default value.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Name of the source; the site of its lines.
    pub source: Option<String>,
    /// Name of the book.
    pub book: Option<String>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Decimals of the currency: 0, 2 or 3.
    pub minor_unit: Option<i16>,
    /// Zone of the book's days; the source server's own where it is not given.
    pub time_zone: Option<String>,
}

/// Who the source is and which book its bills belong to; fixed at the first installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub source: String,
    pub book: String,
    pub currency: String,
    pub minor_unit: i16,
    pub time_zone: String,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { source, book, currency, minor_unit, time_zone } = self;
        write!(f, "source {source}, book {book} in {currency} with {minor_unit} decimals, days of {time_zone}")
    }
}

/// The identity as it is, or as it is wished for the first time. What is there is never changed: the ledger knows bills by
/// it, so another wish is refused before anything is touched.
pub async fn identity(source: &Client, ledger: &Client, wishes: &Wishes) -> Result<Identity> {
    let mut present = Wishes::default();
    if exists(source, "daybook.sync_configuration").await? {
        let setting = async |key: &str| {
            let sql = "SELECT config_value FROM daybook.sync_configuration WHERE config_key = $1 AND fixed";
            let row = source.query_opt(sql, &[&key]).await.doing("reading the source's identity")?;
            Ok::<Option<String>, Error>(row.map(|row| row.get(0)))
        };
        present.source = setting("source_name").await?;
        present.book = setting("book").await?;
    }
    let source_name = kept("source", &present.source, &wishes.source, || "main".into())?;
    let book = kept("book", &present.book, &wishes.book, || "main".into())?;
    if exists(ledger, "ledger.books").await? {
        let sql = "SELECT currency, minor_unit, time_zone FROM ledger.books WHERE book = $1";
        if let Some(row) = ledger.query_opt(sql, &[&book]).await.doing("reading the book")? {
            present.currency = Some(row.get(0));
            present.minor_unit = Some(row.get(1));
            present.time_zone = Some(row.get(2));
        }
    }
    let server_zone: String = source.query_one("SHOW TimeZone", &[]).await.doing("asking for the time zone")?.get(0);
    let identity = Identity {
        source: source_name,
        book,
        currency: kept("currency", &present.currency, &wishes.currency, || "INR".into())?,
        minor_unit: kept("minor-unit", &present.minor_unit, &wishes.minor_unit, || 2)?,
        time_zone: kept("time-zone", &present.time_zone, &wishes.time_zone, || server_zone)?,
    };
    check_identity(&identity)?;
    check_zone(ledger, &identity.time_zone).await?;
    Ok(identity)
}

async fn exists(client: &Client, table: &str) -> Result<bool> {
    Ok(client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.doing("looking for daybook")?.get(0))
}

fn kept<T>(option: &str, present: &Option<T>, wish: &Option<T>, default: impl FnOnce() -> T) -> Result<T>
where
    T: Clone + PartialEq + std::fmt::Display,
{
    match (present, wish) {
        (Some(present), Some(wish)) if present != wish => Err(Error::Usage(format!(
            "--{option} {wish} differs from {present}, which was fixed at the first installation because the ledger's \
             entries depend on it; leave the option out"
        ))),
        (Some(value), _) | (None, Some(value)) => Ok(value.clone()),
        (None, None) => Ok(default()),
    }
}

/// Names, currency and decimals that can be used.
pub fn check_identity(identity: &Identity) -> Result<()> {
    let is_name = |name: &str| {
        name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    for (option, name) in [("source", &identity.source), ("book", &identity.book)] {
        if !is_name(name) {
            return Err(Error::Usage(format!(
                "--{option} {name} is no usable name: letters, digits, underscore, dot and hyphen, 63 at most"
            )));
        }
    }
    if identity.currency.len() != 3 || !identity.currency.chars().all(|c| c.is_ascii_uppercase()) {
        return Err(Error::Usage(format!("--currency {} is no ISO 4217 code, such as INR", identity.currency)));
    }
    if ![0, 2, 3].contains(&identity.minor_unit) {
        return Err(Error::Usage(format!("--minor-unit {}: currencies have 0, 2 or 3 decimals", identity.minor_unit)));
    }
    Ok(())
}

/// Whether a server has a time zone by this name. It reads all of its zone files for that, some 30 ms.
pub(crate) async fn knows_time_zone(client: &Client, name: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1)";
    Ok(client.query_one(sql, &[&name]).await.doing("looking up the time zone")?.get(0))
}

async fn check_zone(ledger: &Client, time_zone: &str) -> Result<()> {
    if knows_time_zone(ledger, time_zone).await? {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "PostgreSQL knows no time zone {time_zone}: give one of pg_timezone_names, such as --time-zone Asia/Kolkata"
    )))
}
