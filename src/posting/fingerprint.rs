//! What a bill amounts to, in eight bytes: so that every bill can be compared with its row without reading its lines.

use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::entries::LiveEntry;
use super::lines::{BalancedLines, Line};

/// The first eight bytes, big-endian, of the SHA-256 of a bill's effective date and lines: account, amount, settlement mark and
/// dimensions, in an order of their own, each with its length. The hash of the rule is not in it: what another version maps to the
/// same lines amounts to the same.
pub fn fingerprint(effective_date: NaiveDate, lines: &BalancedLines) -> i64 {
    let mut lines: Vec<&Line> = lines.as_slice().iter().collect();
    lines.sort_by(|a, b| place(a).cmp(&place(b)));
    let mut message: Vec<u8> = Vec::with_capacity(512);
    let mut add = |text: Option<&str>| match text {
        Some(text) => {
            message.extend((text.len() as u64).to_be_bytes());
            message.extend(text.as_bytes());
        }
        None => message.extend(u64::MAX.to_be_bytes()),
    };
    add(Some(&effective_date.to_string()));
    for line in lines {
        let (account, is_settlement, site, department, party) = place(line);
        add(Some(account));
        add(Some(&line.amount.normalize().to_string()));
        add(Some(if is_settlement { "settlement" } else { "" }));
        add(site);
        add(department);
        add(party);
    }
    let digest = Sha256::digest(&message);
    i64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

type Place<'a> = (&'a str, bool, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn place(line: &Line) -> Place<'_> {
    let of = &line.dimensions;
    (&line.account, line.is_settlement, of.site.as_deref(), of.department.as_deref(), of.party.as_deref())
}

/// That of what a bill's live entries amount to; `None` where there are none. The first of them carries the bill's own date.
pub fn of_live(live: &[LiveEntry]) -> Option<i64> {
    let lines = live.iter().flat_map(|entry| entry.lines.as_slice().iter().cloned());
    let lines = BalancedLines::net(lines).unwrap_or_default(); // a sum of balanced entries is balanced
    live.first().map(|base| fingerprint(base.effective_date, &lines))
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::posting::lines::Dimensions;

    fn lines(of: &[(&str, i64, bool, Option<&str>)]) -> BalancedLines {
        let line = |&(account, cents, is_settlement, party): &(&str, i64, bool, Option<&str>)| Line {
            account: account.into(),
            amount: Decimal::new(cents, 2),
            is_settlement,
            dimensions: Dimensions { party: party.map(str::to_string), ..Dimensions::default() },
        };
        BalancedLines::net(of.iter().map(line)).expect("balanced")
    }

    #[test]
    fn a_fingerprint_tells_every_part_of_what_a_bill_amounts_to_and_no_order() {
        let day = NaiveDate::from_ymd_opt(2024, 3, 5).expect("a day");
        let of = |lines: &BalancedLines| fingerprint(day, lines);
        let bill = lines(&[("1000", 11_200, true, None), ("4100", -11_200, false, None)]);
        let turned = lines(&[("4100", -11_200, false, None), ("1000", 11_200, true, None)]);
        assert_eq!(of(&bill), of(&turned));
        let others = [
            lines(&[("1000", 11_201, true, None), ("4100", -11_201, false, None)]),
            lines(&[("1010", 11_200, true, None), ("4100", -11_200, false, None)]),
            lines(&[("1000", 11_200, false, None), ("4100", -11_200, false, None)]),
            lines(&[("1000", 11_200, true, Some("")), ("4100", -11_200, false, None)]),
            lines(&[("1000", 11_200, true, Some("visit:7")), ("4100", -11_200, false, None)]),
        ];
        for other in &others {
            assert_ne!(of(&bill), of(other), "{other:?}");
        }
        assert_ne!(of(&bill), fingerprint(day.succ_opt().expect("a day"), &bill));
    }

    #[test]
    fn a_settlement_leaves_the_fingerprint_of_what_the_bill_amounts_to() {
        let day = |day| NaiveDate::from_ymd_opt(2024, 3, day).expect("a day");
        let live = [
            LiveEntry {
                id: 1,
                effective_date: day(5),
                lines: lines(&[("1100", 500, true, None), ("4000", -500, false, None)]),
            },
            LiveEntry {
                id: 2,
                effective_date: day(9),
                lines: lines(&[("1100", -500, true, None), ("1000", 500, true, None)]),
            },
        ];
        let desired = lines(&[("1000", 500, true, None), ("4000", -500, false, None)]);
        assert_eq!(of_live(&live), Some(fingerprint(day(5), &desired)));
        assert_eq!(of_live(&[]), None);
    }
}
