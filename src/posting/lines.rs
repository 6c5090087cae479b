//! Journal lines, netted and balanced.

use rust_decimal::Decimal;

/// What an amount is told by besides its account. The same for both sides of a comparison, or it is another line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dimensions {
    pub site: Option<String>,
    pub department: Option<String>,
    pub party: Option<String>,
}

/// One line: an account and an amount, debit positive, credit negative, in the book's currency. `is_settlement` marks how
/// the bill was settled, which may change later without restating the sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub account: String,
    pub amount: Decimal,
    pub is_settlement: bool,
    pub dimensions: Dimensions,
}

impl Line {
    fn same_place(&self, other: &Line) -> bool {
        self.is_settlement == other.is_settlement
            && self.account == other.account
            && self.dimensions == other.dimensions
    }
}

/// Lines whose amounts add up to zero, at most one per account, dimensions and settlement mark, none of them zero.
/// They can be built in no other way, and so an unbalanced entry cannot be built at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BalancedLines(Vec<Line>);

/// The amounts add up to `difference` instead of zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("debits exceed credits by {difference}")]
pub struct Unbalanced {
    pub difference: Decimal,
}

impl BalancedLines {
    /// Nets lines of the same place, leaves zeros out, and keeps the order of first appearance.
    pub fn net(lines: impl IntoIterator<Item = Line>) -> Result<Self, Unbalanced> {
        let mut netted: Vec<Line> = Vec::new();
        for line in lines {
            match netted.iter_mut().find(|seen| seen.same_place(&line)) {
                Some(seen) => seen.amount += line.amount,
                None => netted.push(line),
            }
        }
        netted.retain(|line| !line.amount.is_zero());
        let difference: Decimal = netted.iter().map(|line| line.amount).sum();
        if difference.is_zero() { Ok(BalancedLines(netted)) } else { Err(Unbalanced { difference }) }
    }

    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same lines with debit and credit exchanged.
    pub fn reversed(&self) -> Self {
        BalancedLines(self.0.iter().map(|line| Line { amount: -line.amount, ..line.clone() }).collect())
    }

    /// What has to be posted for `live` to become `self`: credits and debits out of the old places, then into the new ones.
    pub fn difference_from(&self, live: &BalancedLines) -> Self {
        let reversed = live.reversed();
        let lines = reversed.0.into_iter().chain(self.0.iter().cloned());
        BalancedLines::net(lines).unwrap_or_default() // balanced − balanced is balanced
    }

    /// Sum of the debits, which is also the sum of the credits.
    pub fn total(&self) -> Decimal {
        self.0.iter().map(|line| line.amount).filter(|amount| amount.is_sign_positive()).sum()
    }
}
