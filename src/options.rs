//! Where the databases are: command line, then environment, then `daybook.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::address::Address;
use serde::Deserialize;

use crate::address::parse_url;
use crate::chain::head::Places;
use crate::database::Side;
use crate::error::{Error, Result};

/// The file that is read where no other is named.
pub const FILE_NAME: &str = "daybook.toml";

/// Workers of a source that says no other number.
const WORKERS: usize = 2;

/// The options by which every command finds its databases.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Urls {
    /// Database of the bill tables: postgresql://user@host:5432/database
    #[arg(long, env = "DAYBOOK_SOURCE_URL", hide_env_values = true)]
    pub source_url: Option<String>,
    /// Database of the ledger; the source's where it is left out
    #[arg(long, env = "DAYBOOK_LEDGER_URL", hide_env_values = true)]
    pub ledger_url: Option<String>,
    /// Name of the source: the one meant of several in daybook.toml; the new one's, for install [default: main]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Configuration file instead of ./daybook.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What `daybook.toml` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source_url: Option<String>,
    ledger_url: Option<String>,
    workers: Option<usize>,
    #[serde(default)]
    chain: ChainEntry,
    /// Several sources, by their names; each may have its own ledger and number of workers.
    #[serde(default)]
    sources: BTreeMap<String, SourceEntry>,
}

/// Where the heads of chains are published beside the log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainEntry {
    head_file: Option<PathBuf>,
    head_webhook: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    source_url: String,
    ledger_url: Option<String>,
    workers: Option<usize>,
}

/// A source with its ledger, and how many workers consume.
#[derive(Clone)]
pub struct Databases {
    /// What the source was called; it must be its name.
    pub name: Option<String>,
    pub source: Address,
    pub ledger: Address,
    pub workers: usize,
    /// Where the head of the ledger's chain is published.
    pub heads: Places,
}

impl Urls {
    /// The one source that is meant.
    pub fn one(&self) -> Result<Databases> {
        let mut all = self.all(None)?;
        match (all.pop(), all.as_slice()) {
            (Some(only), []) => Ok(only),
            (last, others) => {
                let names = others.iter().chain(&last).filter_map(|source| source.name.as_deref());
                let names = names.collect::<Vec<_>>().join(", ");
                Err(Error::Usage(format!("which source of daybook.toml? Give --source, one of: {names}")))
            }
        }
    }

    /// Every source that is meant, one at least.
    pub fn all(&self, workers: Option<usize>) -> Result<Vec<Databases>> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None if Path::new(FILE_NAME).exists() => read(Path::new(FILE_NAME))?,
            None => File::default(),
        };
        if file.source_url.is_some() && !file.sources.is_empty() {
            return Err(Error::Usage(
                "daybook.toml gives source_url and [sources]: put the one among the others".into(),
            ));
        }
        let heads = heads(&file.chain)?;
        let given = |url: &Option<String>| url.clone().filter(|url| !url.trim().is_empty());
        let ledger_url = given(&self.ledger_url);
        if let Some(url) = given(&self.source_url).or_else(|| given(&file.source_url)) {
            let ledger_url = ledger_url.or_else(|| given(&file.ledger_url));
            let workers = workers.or(file.workers);
            return Ok(vec![databases(self.source.clone(), &url, ledger_url, workers, heads)?]);
        }
        let mut all = Vec::new();
        for (name, entry) in &file.sources {
            if self.source.as_ref().is_none_or(|wanted| wanted == name) {
                let ledger_url =
                    ledger_url.clone().or_else(|| given(&entry.ledger_url)).or_else(|| given(&file.ledger_url));
                let workers = workers.or(entry.workers).or(file.workers);
                all.push(databases(Some(name.clone()), &entry.source_url, ledger_url, workers, heads.clone())?);
            }
        }
        match (all.is_empty(), &self.source) {
            (false, _) => Ok(all),
            (true, Some(name)) if !file.sources.is_empty() => {
                Err(Error::Usage(format!("daybook.toml has no [sources.{name}]")))
            }
            _ => Err(Error::Usage(
                "which database? Give --source-url postgresql://user@host/database, or DAYBOOK_SOURCE_URL, or source_url in \
                 daybook.toml"
                    .into(),
            )),
        }
    }
}

fn databases(
    name: Option<String>,
    source_url: &str,
    ledger_url: Option<String>,
    workers: Option<usize>,
    heads: Places,
) -> Result<Databases> {
    let workers = workers.unwrap_or(WORKERS);
    if !(1..=64).contains(&workers) {
        return Err(Error::Usage(format!("{workers} workers: give 1 to 64")));
    }
    Ok(Databases {
        name,
        source: parse_url(Side::Source, source_url)?,
        ledger: parse_url(Side::Ledger, ledger_url.as_deref().unwrap_or(source_url))?,
        workers,
        heads,
    })
}

fn heads(chain: &ChainEntry) -> Result<Places> {
    let is_address = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    match chain.head_webhook.as_ref().is_none_or(is_address) {
        true => Ok(Places { file: chain.head_file.clone(), webhook: chain.head_webhook.clone() }),
        false => {
            Err(Error::Usage("head_webhook of daybook.toml is no address: begin it with https:// or http://".into()))
        }
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
