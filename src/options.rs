//! Where the databases are: command line, then environment, then `daybook.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_postgres::Config;

use crate::database::{Side, parse_url};
use crate::error::{Error, Result};

/// The file that is read where no other is named.
pub const FILE_NAME: &str = "daybook.toml";

/// What `daybook.toml` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source_url: Option<String>,
    ledger_url: Option<String>,
    workers: Option<usize>,
}

/// The two databases and how many workers consume.
#[derive(Clone)]
pub struct Databases {
    pub source: Config,
    pub ledger: Config,
    pub workers: usize,
}

impl Databases {
    /// Puts together what was given; the ledger is the source's database where nothing else is said.
    pub fn resolve(
        source_url: Option<String>,
        ledger_url: Option<String>,
        workers: Option<usize>,
        file: Option<PathBuf>,
    ) -> Result<Databases> {
        let from_file = match &file {
            Some(path) => read(path)?,
            None if Path::new(FILE_NAME).exists() => read(Path::new(FILE_NAME))?,
            None => File::default(),
        };
        let given = |url: Option<String>| url.filter(|url| !url.trim().is_empty());
        let source_url = given(source_url).or(from_file.source_url).ok_or_else(|| {
            Error::Usage(
                "which database? Give --source-url postgresql://user@host/database, or DAYBOOK_SOURCE_URL, or source_url in \
                 daybook.toml"
                    .into(),
            )
        })?;
        let ledger_url = given(ledger_url).or(from_file.ledger_url).unwrap_or_else(|| source_url.clone());
        let workers = workers.or(from_file.workers).unwrap_or(2);
        if !(1..=64).contains(&workers) {
            return Err(Error::Usage(format!("{workers} workers: give 1 to 64")));
        }
        Ok(Databases {
            source: parse_url(Side::Source, &source_url)?,
            ledger: parse_url(Side::Ledger, &ledger_url)?,
            workers,
        })
    }
}

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Usage(format!("cannot read {}: {source}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let problem = error.to_string();
        Error::Usage(format!("{} is not usable: {}", path.display(), problem.trim().replace('\n', " ")))
    })
}
