//! The posting core as tables: one row an input and its outcome. No database.

use chrono::NaiveDate;
use daybook::posting::desired::{Circumstances, Desired, Wanted, desired};
use daybook::posting::entries::{Calendar, ClosedCash, Entry, LiveEntry, entries};
use daybook::posting::lines::{BalancedLines, Dimensions, Line};
use daybook::posting::rule::Rule;
use proptest::prelude::*;
use rust_decimal::Decimal;

const CONSULTATION: &str = include_str!("../rules/consultation.toml");
const PHARMACY: &str = include_str!("../rules/pharmacy.toml");
const LAB: &str = include_str!("../rules/lab.toml");
const ULTRASOUND: &str = include_str!("../rules/ultrasound.toml");

/// Maps a row written as `column=value …` (`_` is a blank, a column that is not named is null) and renders the outcome.
fn mapped(definition: &str, minor_unit: u32, row: &str) -> String {
    let rule = Rule::parse(definition).expect("the rule is usable");
    let values: Vec<(&str, String)> = row
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, value.replace('_', " ")))
        .collect();
    for (name, _) in &values {
        assert!(rule.columns().iter().any(|column| column.name == *name), "the rule maps {name}");
    }
    let find = |name: &str| values.iter().find(|(column, _)| *column == name).map(|(_, value)| value.clone());
    let row: Vec<Option<String>> = rule.columns().iter().map(|column| find(&column.name)).collect();
    let circumstances = Circumstances { minor_unit, site: "main", go_live: None };
    match desired(&rule, circumstances, &row) {
        Ok(Wanted::Nothing) => "nothing".into(),
        Ok(Wanted::OutOfScope) => "out of scope".into(),
        Ok(Wanted::Lines(desired)) => format!("{} {}", desired.effective_date, text(&desired.lines)),
        Err(parked) => format!("PARKED {}", parked.reason),
    }
}

fn text(lines: &BalancedLines) -> String {
    let lines: Vec<String> = lines.as_slice().iter().map(|line| format!("{} {}", line.account, line.amount)).collect();
    lines.join(", ")
}

#[test]
fn each_row_has_its_lines_or_its_reason() {
    let day = "created_at=2024-03-05 ";
    let table = [
        // rule, row, outcome
        (
            PHARMACY,
            "invoice_number=A total_amount=112 gst_amount=12 cost_amount=60.50",
            "2024-03-05 1000 112, 4100 -100, 2100 -12, 5100 60.5, 1200 -60.5",
        ),
        (
            PHARMACY,
            "invoice_number=A total_amount=112 gst_amount=12 discounted_total=56",
            "2024-03-05 1000 56, 4100 -44, 2100 -12",
        ),
        (PHARMACY, "invoice_number=A total_amount=112.00 gst_amount=112.00", "2024-03-05 1000 112, 2100 -112"),
        (PHARMACY, "invoice_number=A total_amount=112 gst_amount=112.01", "PARKED tax is larger than charged"),
        (PHARMACY, "invoice_number=A total_amount=112 gst_amount=-12", "PARKED tax has the opposite sign of charged"),
        (PHARMACY, "invoice_number=A total_amount=-112 gst_amount=12", "PARKED tax has the opposite sign of charged"),
        (
            PHARMACY,
            "invoice_number=A total_amount=-112 gst_amount=-12 cost_amount=-60",
            "2024-03-05 1000 -112, 4100 100, 2100 12, 5100 -60, 1200 60",
        ),
        (PHARMACY, "invoice_number=A total_amount=-112 gst_amount=-112.01", "PARKED tax is larger than charged"),
        (PHARMACY, "invoice_number=A total_amount=112 cost_amount=-60", "PARKED cost has the opposite sign of charged"),
        (PHARMACY, "invoice_number=A total_amount=0 cost_amount=60", "2024-03-05 5100 60, 1200 -60"),
        (PHARMACY, "invoice_number=A total_amount=0 cost_amount=-60", "2024-03-05 5100 -60, 1200 60"),
        (PHARMACY, "invoice_number=A total_amount=0 gst_amount=1", "PARKED tax is larger than charged"),
        (PHARMACY, "invoice_number=A total_amount=0", "nothing"),
        (PHARMACY, "invoice_number=A total_amount=112 discounted_total=0", "nothing"),
        (PHARMACY, "invoice_number=A", "PARKED discounted_total and total_amount: null, so there is no amount"),
        (PHARMACY, "total_amount=112", "nothing"),
        (PHARMACY, "total_amount=NaN payment_mode=barter", "nothing"), // a draft is not looked at
        (
            PHARMACY,
            "invoice_number=A total_amount=112 payment_mode=barter",
            "PARKED column payment_mode holds a text of 6 characters that no account is mapped to",
        ),
        (
            PHARMACY,
            "invoice_number=A total_amount=112 payment_mode=next",
            "PARKED column payment_mode holds a text of 4 characters that no account is mapped to",
        ),
        (
            PHARMACY,
            "invoice_number=A total_amount=0.005",
            "PARKED column total_amount holds an amount with 3 decimals, where the currency has 2",
        ),
        (LAB, "invoice_number=A amount=100 paid=false payment_mode=cash", "2024-03-05 1100 100, 4200 -100"),
        (LAB, "invoice_number=A amount=100 paid=true payment_mode=cash", "2024-03-05 1000 100, 4200 -100"),
        (LAB, "invoice_number=A amount=100 payment_mode=due", "2024-03-05 1100 100, 4200 -100"),
        (LAB, "invoice_number=A amount=100 discounted_amount=99.99", "2024-03-05 1000 99.99, 4200 -99.99"),
        (CONSULTATION, "amount=500 paid=false mode=barter", "2024-03-05 1100 500, 4000 -500"),
        (CONSULTATION, "amount=500 mode=__UPI_", "2024-03-05 1030 500, 4000 -500"),
        (CONSULTATION, "amount=500 mode=___", "2024-03-05 1000 500, 4000 -500"),
        (
            CONSULTATION,
            "amount=500 paid=maybe",
            "PARKED column paid holds a text of 5 characters that no account is mapped to",
        ),
        (ULTRASOUND, "invoice_number=A total_amount=900 payment_mode=Debit_Card", "2024-03-05 1020 900, 4300 -900"),
    ];
    for (rule, row, expected) in table {
        assert_eq!(mapped(rule, 2, &format!("{day}{row}")), expected, "{row}");
    }
    for (date, expected) in [
        ("", "PARKED column created_at is null"),
        ("created_at=infinity", "PARKED column created_at holds an infinite date"),
        (
            "created_at=0044-03-15_BC",
            "PARKED column created_at holds something that is not a date between the years 1 and 9999",
        ),
    ] {
        assert_eq!(mapped(CONSULTATION, 2, &format!("{date} amount=5")), expected);
    }
    assert_eq!(mapped(CONSULTATION, 0, "created_at=2024-03-05 amount=5.0"), "2024-03-05 1000 5, 4000 -5");
    assert_eq!(mapped(CONSULTATION, 3, "created_at=2024-03-05 amount=5.125"), "2024-03-05 1000 5.125, 4000 -5.125");
}

#[test]
fn every_mode_of_the_clinic_has_its_account() {
    let table = [
        ("1000", "cash Cash CASH _cash_"),
        ("1010", "bank bank_transfer NEFT cheque"),
        ("1020", "card credit_card Debit_Card"),
        ("1030", "upi mobile gpay phonepe PayTM"),
        ("1100", "credit due"),
    ];
    for (rule, column, row) in [
        (CONSULTATION, "mode", "amount=1"),
        (PHARMACY, "payment_mode", "invoice_number=A total_amount=1"),
        (LAB, "payment_mode", "invoice_number=A amount=1"),
        (ULTRASOUND, "payment_mode", "invoice_number=A total_amount=1"),
    ] {
        for (account, modes) in table {
            for mode in modes.split_whitespace() {
                let outcome = mapped(rule, 2, &format!("created_at=2024-03-05 {row} {column}={mode}"));
                assert!(outcome.starts_with(&format!("2024-03-05 {account} 1,")), "{mode}: {outcome}");
            }
        }
    }
}

#[test]
fn a_rule_that_contradicts_itself_is_refused_with_its_reason() {
    let whole = CONSULTATION;
    let table = [
        (whole.replace("date = \"created_at\"", ""), "missing field `date`"),
        (
            whole.replace("[[lines]]\ncredit = \"charged\"\naccount = \"4000\"\n", ""),
            "needs a debit line and a credit line",
        ),
        (whole.replace("credit = \"charged\"", "credit = \"revenue\""), "amount revenue is not defined above its use"),
        (whole.replace("credit = \"charged\"", "credit = \"charged\"\ndebit = \"charged\""), "either debit or credit"),
        (
            whole.replace("account_from = \"settlement\"", "account_from = \"elsewhere\""),
            "there is no [[accounts.elsewhere]]",
        ),
        (whole.replace("cash = \"1000\"", "cash = \"1000\"\n\"CASH \" = \"1010\""), "stands twice"),
        (whole.replace("first_of = [\"amount\"]", "first_of = []"), "names no column"),
        (whole.replace("department", "departement"), "unknown field"),
        (format!("{whole}\n[[amounts]]\nname = \"charged\"\nfirst_of = [\"amount\"]\n"), "defined twice"),
        ("this is not TOML".into(), "line 1: "),
    ];
    for (definition, part) in table {
        let error = Rule::parse(&definition).expect_err("is refused").to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

fn day(text: &str) -> NaiveDate {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").expect("a date")
}

/// `1000 S 112, 4100 -112`: account, S for a settlement line, amount; `@7` after it names the party.
fn lines(text: &str) -> BalancedLines {
    let line = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let party = words.iter().find_map(|word| word.strip_prefix('@')).map(|party| format!("visit:{party}"));
        let amount = words.iter().skip(1).find_map(|word| word.parse::<Decimal>().ok()).expect("an amount");
        Line {
            account: words[0].into(),
            amount,
            is_settlement: words.contains(&"S"),
            dimensions: Dimensions { site: Some("main".into()), department: None, party },
        }
    };
    BalancedLines::net(text.split(',').map(line)).expect("is balanced")
}

fn rendered(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        let late = if entry.late { " late" } else { "" };
        let reverses = entry.reverses.map(|id| format!(" of {id}")).unwrap_or_default();
        format!(
            "{}{reverses} {}/{}{late}: {}",
            entry.kind.as_str(),
            entry.effective_date,
            entry.posting_date,
            text(&entry.lines)
        )
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(" | ")
}

#[test]
fn each_change_has_its_entries() {
    let sale = "1000 S 112, 4100 -100, 2100 -12";
    let on_credit = "1100 S 112, 4100 -100, 2100 -12";
    let settled = "1000 S -112, 1100 S 112";
    // live (id, date, lines), desired (date, lines), entries; the day of the change is 2024-03-20
    type Row = (Vec<(i64, &'static str, &'static str)>, Option<(&'static str, &'static str)>, &'static str);
    let table: Vec<Row> = vec![
        (vec![], None, ""),
        (vec![], Some(("2024-03-05", sale)), "original 2024-03-05/2024-03-05: 1000 112, 4100 -100, 2100 -12"),
        (vec![], Some(("2024-02-05", sale)), "original 2024-02-05/2024-03-01 late: 1000 112, 4100 -100, 2100 -12"),
        (vec![(7, "2024-03-05", sale)], Some(("2024-03-05", sale)), ""),
        (vec![(7, "2024-03-05", sale)], None, "reversal of 7 2024-03-05/2024-03-20: 1000 -112, 4100 100, 2100 12"),
        (
            vec![(7, "2024-03-05", sale)],
            Some(("2024-03-05", on_credit)),
            "settlement 2024-03-20/2024-03-20: 1000 -112, 1100 112",
        ),
        (vec![(7, "2024-03-05", sale), (8, "2024-03-10", settled)], Some(("2024-03-05", on_credit)), ""),
        (
            vec![(7, "2024-03-05", sale), (8, "2024-03-10", settled)],
            Some(("2024-03-05", sale)),
            "settlement 2024-03-20/2024-03-20: 1100 -112, 1000 112",
        ),
        (
            vec![(7, "2024-03-05", sale), (8, "2024-03-10", settled)],
            None,
            "reversal of 7 2024-03-05/2024-03-20: 1000 -112, 4100 100, 2100 12 | reversal of 8 2024-03-10/2024-03-20: 1000 112, 1100 -112",
        ),
        (
            vec![(7, "2024-03-05", sale)],
            Some(("2024-03-06", sale)),
            "reversal of 7 2024-03-05/2024-03-20: 1000 -112, 4100 100, 2100 12 | correction 2024-03-06/2024-03-20: 1000 112, 4100 -100, 2100 -12",
        ),
        (
            vec![(7, "2024-03-05", sale)],
            Some(("2024-03-05", "1000 S 112 @7, 4100 -100 @7, 2100 -12 @7")),
            "reversal of 7 2024-03-05/2024-03-20: 1000 -112, 4100 100, 2100 12 | correction 2024-03-05/2024-03-20: 1000 112, 4100 -100, 2100 -12",
        ),
        (
            vec![(7, "2024-04-05", sale)], // a bill dated ahead
            Some(("2024-04-05", "1000 S 113, 4100 -101, 2100 -12")),
            "reversal of 7 2024-04-05/2024-04-05: 1000 -112, 4100 100, 2100 12 | correction 2024-04-05/2024-04-05: 1000 113, 4100 -101, 2100 -12",
        ),
        (
            vec![(7, "2024-03-05", sale)], // mode and amount at once: a correction
            Some(("2024-03-05", "1100 S 113, 4100 -101, 2100 -12")),
            "reversal of 7 2024-03-05/2024-03-20: 1000 -112, 4100 100, 2100 12 | correction 2024-03-05/2024-03-20: 1100 113, 4100 -101, 2100 -12",
        ),
    ];
    let calendar = Calendar::new([(day("2024-01-01"), day("2024-02-10")), (day("2024-02-11"), day("2024-02-29"))]);
    for (live, wanted, expected) in table {
        let live: Vec<LiveEntry> = live
            .iter()
            .map(|(id, date, text)| LiveEntry { id: *id, effective_date: day(date), lines: lines(text) })
            .collect();
        let wanted =
            wanted.map(|(date, text)| Desired { effective_date: day(date), lines: lines(text), warning: None });
        assert_eq!(
            rendered(&entries(wanted.as_ref(), &live, day("2024-03-20"), &calendar)),
            expected,
            "{live:?} → {wanted:?}"
        );
    }
}

#[test]
fn closed_days_of_cash_move_the_entries_of_their_sites_and_no_others() {
    let mut calendar = Calendar::new([(day("2024-03-08"), day("2024-03-10"))]).closing_cash(true);
    calendar.close_cash(
        [("main", "2024-03-05", "2024-03-07"), ("north", "2024-03-11", "2024-03-11")]
            .map(|(site, first, last)| ClosedCash { site: site.into(), first_day: day(first), last_day: day(last) }),
    );
    let of = |site: Option<&str>, amount: i64| {
        let dimensions = Dimensions { site: site.map(String::from), ..Dimensions::default() };
        let line = |account: &str, amount| Line {
            account: account.into(),
            amount: Decimal::new(amount, 0),
            is_settlement: false,
            dimensions: dimensions.clone(),
        };
        [line("1000", amount), line("4000", -amount)]
    };
    let table = [
        // sites of the lines, day, posting date
        (vec![Some("main")], "2024-03-04", "2024-03-04"),
        (vec![Some("main")], "2024-03-05", "2024-03-11 late"), // over the closed period behind them
        (vec![Some("main")], "2024-03-07", "2024-03-11 late"),
        (vec![Some("north")], "2024-03-05", "2024-03-05"),
        (vec![Some("north")], "2024-03-08", "2024-03-12 late"),
        (vec![Some("main"), Some("north")], "2024-03-06", "2024-03-12 late"), // open for both
        (vec![None, Some("south")], "2024-03-06", "2024-03-06"),
        (vec![None], "2024-03-09", "2024-03-11 late"),
    ];
    for (sites, wished, expected) in table {
        let lines = sites.iter().flat_map(|site| of(*site, 7));
        let lines = BalancedLines::net(lines).expect("is balanced");
        let wanted = Desired { effective_date: day(wished), lines, warning: None };
        let entries = entries(Some(&wanted), &[], day("2024-03-20"), &calendar);
        let told = format!("{}{}", entries[0].posting_date, if entries[0].late { " late" } else { "" });
        assert_eq!(told, expected, "{sites:?} {wished}");
    }
}

#[test]
fn an_unbalanced_entry_cannot_be_built() {
    let line = |account: &str, cents: i64| Line {
        account: account.into(),
        amount: Decimal::new(cents, 2),
        is_settlement: false,
        dimensions: Dimensions::default(),
    };
    assert_eq!(
        BalancedLines::net([line("1000", 1000), line("4000", -999)]).expect_err("is refused").difference,
        Decimal::new(1, 2)
    );
    assert!(BalancedLines::net([line("1000", 5), line("1000", -5)]).expect("cancels out").is_empty());
}

fn any_lines() -> impl Strategy<Value = BalancedLines> {
    let settlement = (0..3_usize, 1..500_i64, prop::option::of(0..2_u8), any::<bool>());
    (settlement, 0..500_i64).prop_map(|((account, cents, party, refund), tax)| {
        let sign = if refund { -1 } else { 1 };
        let dimensions = Dimensions { party: party.map(|party| format!("visit:{party}")), ..Dimensions::default() };
        let line = |account: &str, cents: i64, is_settlement| Line {
            account: account.into(),
            amount: Decimal::new(cents * sign, 2),
            is_settlement,
            dimensions: dimensions.clone(),
        };
        let tax = tax % cents;
        let settled = ["1000", "1010", "1100"][account];
        BalancedLines::net([line(settled, cents, true), line("4100", tax - cents, false), line("2100", -tax, false)])
            .expect("is balanced")
    })
}

proptest! {
    /// Whatever a bill goes through, what is live afterwards is what its row says, and nothing more is to be done.
    #[test]
    fn after_its_entries_a_bill_is_what_its_row_says(states in prop::collection::vec(prop::option::of((any_lines(), 1..4_u32)), 1..12)) {
        let mut live: Vec<LiveEntry> = Vec::new();
        let mut next = 1;
        let calendar = Calendar::default();
        for (turn, state) in states.iter().enumerate() {
            let change_day = day("2024-03-10") + chrono::Days::new(turn as u64);
            let wanted = state.as_ref().map(|(lines, date)| Desired { effective_date: day(&format!("2024-03-0{date}")), lines: lines.clone(), warning: None });
            for entry in entries(wanted.as_ref(), &live, change_day, &calendar) {
                prop_assert_eq!(entry.lines.as_slice().iter().map(|line| line.amount).sum::<Decimal>(), Decimal::ZERO);
                prop_assert!(entry.posting_date >= entry.effective_date);
                match entry.reverses {
                    Some(id) => {
                        let at = live.iter().position(|live| live.id == id).expect("only what is live is reversed");
                        prop_assert!(live[at].lines.reversed() == entry.lines);
                        live.remove(at);
                    }
                    None => live.push(LiveEntry { id: next, effective_date: entry.effective_date, lines: entry.lines.clone() }),
                }
                next += 1;
            }
            let total = BalancedLines::net(live.iter().flat_map(|entry| entry.lines.as_slice().to_vec())).expect("balances");
            let wanted_lines = wanted.as_ref().map(|wanted| wanted.lines.clone()).unwrap_or_default();
            prop_assert!(wanted_lines.difference_from(&total).is_empty());
            prop_assert_eq!(live.first().map(|base| base.effective_date), wanted.as_ref().map(|wanted| wanted.effective_date));
            prop_assert!(entries(wanted.as_ref(), &live, change_day, &calendar).is_empty());
        }
    }
}
