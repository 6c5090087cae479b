//! Whether source and ledger belong together and mean the same by a day. Pure.

use super::facts::{Attention, Book, Server, Zones};
use super::finding::{Finding, Place};
use crate::database::{Side, quote_literal};
use crate::meeting::{Here, Known, Parted, parted};

/// Both sides are installed, or none.
pub fn installed(source: bool, ledger: bool) -> Vec<Finding> {
    let problem = match (source, ledger) {
        (true, true) => return Vec::new(),
        (false, false) => {
            let problem = "daybook is not installed yet: what was looked at is whether it could be";
            return vec![Finding::info("installed", "both sides", problem).fix(Place::Shell, "daybook install")];
        }
        (true, false) => "the source side is installed, and the ledger side is not: is the ledger URL right?",
        (false, true) => "the ledger side is installed, and the source side is not: is the source URL right?",
    };
    vec![Finding::error("installed", "both sides", problem).fix(Place::Shell, "daybook install")]
}

/// The same judgement that a worker makes at each connection, without changing the tokens.
pub fn meeting(source: &Server, ledger: &Server, attention: &Attention, book: &Book) -> Vec<Finding> {
    let known = book.known.as_ref().map(|known| Known {
        token: known.token.clone(),
        place: (known.system_identifier, known.database_oid, known.timeline.clone()),
        highest_seq: known.highest_seq,
        own_place: (Some(ledger.system_identifier), Some(ledger.database_oid), Some(ledger.timeline.clone())),
    });
    let here = Here {
        token: attention.token.clone(),
        proposed: attention.proposed.clone(),
        place: (Some(source.system_identifier), Some(source.database_oid), Some(source.timeline.clone())),
        highest_seq: attention.highest_seq,
        ledger_place: (
            attention.ledger_system_identifier,
            attention.ledger_database_oid,
            attention.ledger_timeline.clone(),
        ),
    };
    let name = attention.source.clone().unwrap_or_default();
    let Some(parted) = parted(known.as_ref(), &here, is_one_database(source, ledger)) else {
        return Vec::new();
    };
    if matches!(parted, Parted::Promoted { .. }) {
        let problem = parted.explain(attention.book.as_deref().unwrap_or_default(), &name, "");
        return vec![Finding::warning("meeting", format!("source {name}"), problem)];
    }
    let database = book.known.as_ref().map_or("", |known| known.database_name.as_str());
    let problem = parted.explain(attention.book.as_deref().unwrap_or_default(), &name, database);
    vec![
        Finding::error("meeting", format!("source {name}"), problem + " If it is the same source all the same")
            .fix(Place::Shell, "daybook rejoin --reason 'advised by daybook doctor'"),
    ]
}

pub fn is_one_database(source: &Server, ledger: &Server) -> bool {
    (source.system_identifier, source.database_oid) == (ledger.system_identifier, ledger.database_oid)
}

/// The source is the one that was asked for by name.
pub fn source_name(wanted: Option<&str>, attention: &Attention) -> Vec<Finding> {
    let name = attention.source.as_deref().unwrap_or_default();
    let Some(wanted) = wanted.filter(|wanted| *wanted != name) else {
        return Vec::new();
    };
    let problem =
        format!("the database there is source {name}, and was asked for as {wanted}: `daybook run` refuses that");
    vec![
        Finding::error("source_name", format!("source {wanted}"), problem).fix(
            Place::Shell,
            format!("# say --source {name}, or [sources.{name}] in daybook.toml; or correct the URL"),
        ),
    ]
}

/// The book that the source belongs to is in the ledger.
pub fn book(attention: &Attention, book: &Book) -> Vec<Finding> {
    let name = attention.book.clone().unwrap_or_default();
    if book.time_zone.is_some() {
        return Vec::new();
    }
    let problem = "the ledger has no such book, to which the source belongs: is the ledger URL right?";
    vec![
        Finding::error("book", format!("book {name}"), problem)
            .fix(Place::Shell, "daybook install # with the book's --currency, --minor-unit and --time-zone"),
    ]
}

/// Both servers know each zone that days are told by, and make the same of it.
pub fn zones(source: &Zones, ledger: &Zones) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (zone, here) in source {
        let there = ledger.get(zone).cloned().flatten();
        let tell = |problem: String, side: &str| {
            Finding::error("zones", format!("zone {zone}"), problem).fix(Place::Shell, format!(
                "apt-get install --only-upgrade tzdata # on the {side} server's machine, or its like; then restart that server"
            ))
        };
        match (here, &there) {
            (None, _) => findings.push(tell(unknown(zone, Side::Source), "source")),
            (_, None) => findings.push(tell(unknown(zone, Side::Ledger), "ledger")),
            (Some(here), Some(there)) if here != there => {
                let problem = "the two servers disagree about its local time: one of them has old time zone files";
                findings.push(tell(problem.into(), "older"));
            }
            _ => {}
        }
    }
    findings
}

fn unknown(zone: &str, side: Side) -> String {
    format!("the {} server does not know the time zone {}, by which days are told", side.name(), quote_literal(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::KnownSource;

    #[test]
    fn source_and_ledger_are_judged_as_a_worker_would() {
        let server = |system_identifier| Server {
            system_identifier,
            database_oid: 5,
            timeline: "1".into(),
            ..Server::default()
        };
        let known = |token: Option<&str>, system_identifier| KnownSource {
            token: token.map(str::to_string),
            system_identifier: Some(system_identifier),
            database_oid: Some(5),
            timeline: Some("1".into()),
            ..KnownSource::default()
        };
        // ledger's own place, known, token, proposed, findings
        let table = [
            (2, None, None, None, 0),
            (2, None, Some("a"), None, 1),
            (2, Some(known(Some("a"), 1)), Some("a"), None, 0),
            (2, Some(known(Some("a"), 1)), Some("b"), Some("a"), 0),
            (2, Some(known(Some("a"), 1)), Some("b"), Some("c"), 1),
            (2, Some(known(None, 1)), None, None, 0),
            (2, Some(known(Some("a"), 9)), Some("a"), None, 1),
            (1, Some(known(Some("a"), 9)), Some("a"), None, 0),
        ];
        for (ledgers, known, token, proposed, expected) in table {
            let attention = Attention {
                token: token.map(str::to_string),
                proposed: proposed.map(str::to_string),
                ..Attention::default()
            };
            let book = Book { known, ..Book::default() };
            let found = meeting(&server(1), &server(ledgers), &attention, &book);
            assert_eq!(found.len(), expected, "{ledgers} {attention:?} {book:?}");
        }
    }

    #[test]
    fn servers_must_know_each_zone_and_agree() {
        let zones_of =
            |local: Option<&str>| Zones::from([("Europe/Madrid".into(), local.map(|local| vec![local.to_string()]))]);
        let table = [(Some("1"), Some("1"), 0), (Some("1"), Some("2"), 1), (None, Some("1"), 1), (Some("1"), None, 1)];
        for (here, there, expected) in table {
            assert_eq!(zones(&zones_of(here), &zones_of(there)).len(), expected, "{here:?} {there:?}");
        }
    }

    #[test]
    fn a_source_is_known_by_its_name() {
        let attention = Attention { source: Some("main".into()), ..Attention::default() };
        for (wanted, expected) in [(None, 0), (Some("main"), 0), (Some("north"), 1)] {
            assert_eq!(source_name(wanted, &attention).len(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn half_an_installation_is_an_error_and_none_is_not() {
        assert!(installed(true, true).is_empty());
        assert_eq!(installed(false, false)[0].severity, crate::doctor::finding::Severity::Info);
        assert_eq!(installed(true, false)[0].severity, crate::doctor::finding::Severity::Error);
        assert_eq!(installed(false, true)[0].severity, crate::doctor::finding::Severity::Error);
    }
}
