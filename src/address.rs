//! Where a database is, and how the way there is protected: a connection string in libpq's words.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Config, Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::database::Side;
use crate::error::{Error, Result};
use crate::tls::{self, Trust, Wanted};

/// A connection string, parsed, with what TLS to it needs. Derefs to tokio-postgres's configuration.
#[derive(Clone)]
pub struct Address {
    config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

impl Deref for Address {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for Address {
    fn deref_mut(&mut self) -> &mut Config {
        &mut self.config
    }
}

/// Parses a connection string, in URL or key-value form. Of libpq's parameters for TLS it knows `sslmode` (disable, allow,
/// prefer, require, verify-ca, verify-full), `sslrootcert`, `sslcert` and `sslkey`; as with libpq they mean nothing on a
/// local socket.
pub fn parse_url(side: Side, url: &str) -> Result<Address> {
    let unusable = || {
        Error::Usage(format!(
            "the {} URL is not a PostgreSQL connection string: write postgresql://user@host:5432/database",
            side.name()
        ))
    };
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let (rest, parameters) = if is_url { split_url(url) } else { split_pairs(url) }.ok_or_else(unusable)?;
    let mut config = Config::from_str(&rest).map_err(|_| unusable())?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(Error::Usage(format!(
            "the {} URL names no host; for a local socket add ?host=/var/run/postgresql",
            side.name()
        )));
    }
    let is_local = !config.get_hosts().is_empty() && config.get_hosts().iter().all(|h| matches!(h, Host::Unix(_)));
    let refused = |why: String| Error::Usage(format!("the {} URL: {why}", side.name()));
    if config.get_ssl_mode() != SslMode::Prefer {
        // What we did not take out would lose its meaning below.
        return Err(Error::Usage(format!(
            "the {} URL says sslmode where it cannot be read: write ? and @ in the password as %3F and %40",
            side.name()
        )));
    }
    let tls = match is_local {
        true => Wanted::default(),
        false => wanted(&parameters).map_err(refused)?,
    };
    config.ssl_mode(match (is_local, tls.mode) {
        (true, _) => SslMode::Disable,
        (false, mode) => mode,
    });
    let tls = tls::connector(&tls).map_err(refused)?;

    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_application_name().is_none() {
        config.application_name("daybook");
    }
    config.keepalives_idle(Duration::from_secs(30));
    config.keepalives_interval(Duration::from_secs(10));
    config.keepalives_retries(3);
    config.tcp_user_timeout(Duration::from_secs(60));
    Ok(Address { config, tls })
}

/// A parameter for TLS, with its value.
type Parameter = (String, String);

fn is_for_tls(key: &str) -> bool {
    ["sslmode", "sslrootcert", "sslcert", "sslkey"].contains(&key)
}

/// Takes the parameters for TLS out of a URL. A question mark before the end of user and password is part of these.
fn split_url(url: &str) -> Option<(String, Vec<Parameter>)> {
    let credentials = url.find('@').unwrap_or_default();
    let Some(query) = url[credentials..].find('?').map(|at| credentials + at) else {
        return Some((url.to_string(), Vec::new()));
    };
    let (address, query) = (&url[..query], &url[query + 1..]);
    let (mut rest, mut ours) = (Vec::new(), Vec::new());
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match is_for_tls(key) {
            true => ours.push((key.to_string(), percent_decode_str(value).decode_utf8().ok()?.into_owned())),
            false => rest.push(pair),
        }
    }
    Some((format!("{address}?{}", rest.join("&")), ours))
}

/// Takes the parameters for TLS out of a string of `key = value` pairs; a value may stand in single quotes, where a backslash
/// takes what follows as it is.
fn split_pairs(pairs: &str) -> Option<(String, Vec<Parameter>)> {
    let (mut rest, mut ours) = (String::new(), Vec::new());
    let mut left = pairs.trim_start();
    while !left.is_empty() {
        let (key, after) = left.split_once('=')?;
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let (mut value, mut escaped, mut end) = (String::new(), false, after.len());
        for (at, character) in after.char_indices().skip(usize::from(quoted)) {
            if escaped {
                value.push(character);
                escaped = false;
            } else if character == '\\' {
                escaped = true;
            } else if quoted && character == '\'' {
                end = at + 1;
                break;
            } else if !quoted && character.is_whitespace() {
                end = at;
                break;
            } else {
                value.push(character);
            }
        }
        let pair = &left[..left.len() - after.len() + end];
        match is_for_tls(key.trim()) {
            true => ours.push((key.trim().to_string(), value)),
            false => rest = format!("{rest} {pair}"),
        }
        left = after[end..].trim_start();
    }
    Some((rest, ours))
}

/// What the parameters ask for, or why that cannot be.
fn wanted(parameters: &[Parameter]) -> Result<Wanted, String> {
    let value = |key: &str| parameters.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let file = |key: &str| value(key).filter(|path| !path.is_empty()).map(PathBuf::from);
    let of_system = value("sslrootcert") == Some("system");
    let root = file("sslrootcert").filter(|_| !of_system);
    let default = if of_system { "verify-full" } else { "prefer" };
    let (mode, trust) = match value("sslmode").unwrap_or(default) {
        weaker if of_system && weaker != "verify-full" => {
            return Err(format!(
                "sslrootcert=system trusts many authorities, and goes with sslmode=verify-full only, not {weaker}"
            ));
        }
        "disable" => (SslMode::Disable, Trust::Anybody),
        "allow" | "prefer" => (SslMode::Prefer, Trust::Anybody),
        "require" if root.is_none() => (SslMode::Require, Trust::Anybody),
        "require" | "verify-ca" => (SslMode::Require, Trust::Authority),
        "verify-full" => (SslMode::Require, Trust::AuthorityAndName),
        other => {
            return Err(format!("sslmode={other} is none of disable, allow, prefer, require, verify-ca, verify-full"));
        }
    };
    let identity = match (file("sslcert"), file("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("sslcert and sslkey go together: the client's certificate, and its key".into()),
    };
    Ok(Wanted { mode, trust, root, identity })
}

/// Where a connection goes, without the password.
pub fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("host {host}, port {}", config.get_ports().first().unwrap_or(&5432)),
        Some(Host::Unix(path)) => format!("socket in {}", path.display()),
        None => "no host".into(),
    };
    let named = |what, name: Option<&str>| name.map(|name| format!(", {what} {name}")).unwrap_or_default();
    host + &named("user", config.get_user()) + &named("database", config.get_dbname())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_for_tls_are_taken_out_of_either_form() {
        let parameters = |pairs: &[(&str, &str)]| -> Vec<Parameter> {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let url =
            "postgresql://u:p%40@db:5433/clinic?sslmode=verify-full&application_name=a&sslrootcert=%2Fetc%2Froot.crt";
        let expected = parameters(&[("sslmode", "verify-full"), ("sslrootcert", "/etc/root.crt")]);
        assert_eq!(split_url(url), Some(("postgresql://u:p%40@db:5433/clinic?application_name=a".into(), expected)));
        let pairs = r"host=db sslrootcert = '/etc/it\'s here.crt' password='a b' sslmode=verify-ca user=u";
        let expected = parameters(&[("sslrootcert", "/etc/it's here.crt"), ("sslmode", "verify-ca")]);
        assert_eq!(split_pairs(pairs), Some((" host=db password='a b' user=u".into(), expected)));
        let question = "postgresql://u:p?w@db/clinic?sslmode=require";
        let expected = parameters(&[("sslmode", "require")]);
        assert_eq!(split_url(question), Some(("postgresql://u:p?w@db/clinic?".into(), expected)));
        assert_eq!(split_pairs("nonsense"), None);
        assert_eq!(split_pairs("host=''"), Some((" host=''".into(), Vec::new())));
    }

    #[test]
    fn every_sslmode_of_libpq_says_what_is_encrypted_and_who_is_trusted() {
        let of = |parameters: &[(&str, &str)]| {
            let parameters: Vec<Parameter> =
                parameters.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            wanted(&parameters).map(|wanted| (wanted.mode, wanted.trust))
        };
        assert_eq!(of(&[]), Ok((SslMode::Prefer, Trust::Anybody)));
        assert_eq!(of(&[("sslmode", "disable")]), Ok((SslMode::Disable, Trust::Anybody)));
        assert_eq!(of(&[("sslmode", "require")]), Ok((SslMode::Require, Trust::Anybody)));
        let with_root = [("sslmode", "require"), ("sslrootcert", "/root.crt")];
        assert_eq!(of(&with_root), Ok((SslMode::Require, Trust::Authority)), "as libpq does");
        assert_eq!(of(&[("sslmode", "verify-ca")]), Ok((SslMode::Require, Trust::Authority)));
        assert_eq!(of(&[("sslmode", "verify-full")]), Ok((SslMode::Require, Trust::AuthorityAndName)));
        assert_eq!(of(&[("sslrootcert", "system")]), Ok((SslMode::Require, Trust::AuthorityAndName)), "as libpq does");
        assert!(of(&[("sslrootcert", "system"), ("sslmode", "require")]).unwrap_err().contains("verify-full only"));
        assert!(of(&[("sslmode", "verify")]).unwrap_err().contains("none of disable"));
        assert!(of(&[("sslcert", "/c.crt")]).unwrap_err().contains("go together"));
    }

    #[test]
    fn an_sslmode_that_is_hidden_from_us_is_refused_and_not_ignored() {
        let hidden = parse_url(Side::Source, "postgresql://u@db/clinic?ssl%6Dode=require");
        let message = hidden.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("says sslmode where it cannot be read"), "{message}");
    }

    #[test]
    fn on_a_local_socket_there_is_no_tls() {
        let local = parse_url(Side::Source, "host=/tmp user=u dbname=d sslmode=verify-full").unwrap();
        assert_eq!(local.get_ssl_mode(), SslMode::Disable);
        let missing = parse_url(Side::Ledger, "postgresql://db/d?sslmode=verify-full&sslrootcert=/no/such.crt");
        let message = missing.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with("the ledger URL: cannot read sslrootcert /no/such.crt"), "{message}");
    }
}
