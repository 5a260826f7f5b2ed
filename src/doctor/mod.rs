//! What could be wrong with the machine or the session, what it costs, and the
//! command that mends it. [`Facts`] are gathered; judging them is pure.

mod checks;
mod facts;
mod listen;
mod remedies;
mod sandbox;

use serde::{Deserialize, Serialize};

pub use checks::judge;
pub use facts::Facts;
pub use listen::Heard;
pub use remedies::Remedy;
pub use sandbox::Sandbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    Good,
    /// It works, less well.
    Degraded,
    /// It doesn't work.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: CheckStatus,
    /// What was found, and what it means for latency or safety.
    pub meaning: String,
    /// What mends it; none where nothing needs mending.
    pub remedy: Option<String>,
}

impl Check {
    pub fn good(name: &str, meaning: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: CheckStatus::Good,
            meaning: meaning.into(),
            remedy: None,
        }
    }

    /// It works, less well; `remedy` mends it.
    pub fn degraded(name: &str, meaning: impl Into<String>, remedy: Remedy) -> Self {
        let remedy = Some(remedy.to_string());
        Self {
            name: name.into(),
            status: CheckStatus::Degraded,
            meaning: meaning.into(),
            remedy,
        }
    }

    /// It doesn't work; `remedy` mends it.
    pub fn broken(name: &str, meaning: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            status: CheckStatus::Broken,
            ..Self::degraded(name, meaning, remedy)
        }
    }
}

/// One line for each check; what mends it stands at its end, after an arrow.
pub fn text(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let status = match check.status {
            CheckStatus::Good => "good    ",
            CheckStatus::Degraded => "degraded",
            CheckStatus::Broken => "broken  ",
        };
        out += &format!("{status}  {:width$}  {}", check.name, check.meaning);
        if let Some(remedy) = &check.remedy {
            out += &format!("  -> {remedy}");
        }
        out.push('\n');
    }
    out
}

/// The same for programs: `{"status": …, "checks": […]}`.
pub fn json(checks: &[Check]) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        status: CheckStatus,
        checks: &'a [Check],
    }
    let report = Report {
        status: worst(checks),
        checks,
    };
    serde_json::to_string_pretty(&report).expect("plain strings")
}

/// The worst of all; [`CheckStatus::Broken`] is what exit code 1 stands for.
pub fn worst(checks: &[Check]) -> CheckStatus {
    checks
        .iter()
        .map(|check| check.status)
        .max()
        .unwrap_or(CheckStatus::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_show_the_worst_and_the_remedy() {
        let checks = [
            Check::good("one", "fine"),
            Check::degraded("three", "slow", remedies::START_PIPEWIRE),
        ];
        let do_this = remedies::START_PIPEWIRE.to_string();
        assert_eq!(worst(&checks), CheckStatus::Degraded);
        assert_eq!(
            text(&checks),
            format!("good      one    fine\ndegraded  three  slow  -> {do_this}\n")
        );
        let report: serde_json::Value = serde_json::from_str(&json(&checks)).unwrap();
        assert_eq!(report["status"], "degraded");
        assert_eq!(report["checks"][1]["remedy"], do_this);
        assert_eq!(report["checks"][0]["remedy"], serde_json::Value::Null);
        assert_eq!(
            worst(&[
                Check::broken("x", "y", remedies::LIST_SOURCES),
                checks[0].clone()
            ]),
            CheckStatus::Broken
        );
    }
}
