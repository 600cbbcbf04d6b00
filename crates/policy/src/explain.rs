//! Why traffic is allowed or refused: the verdict of the tables that the kernel walks, and every rule that had a say.
//!
//! The verdict comes from [`nexin_verdict::decide`] over the compiled tables; the list of rules from the same ranked rules
//! the tables were compiled from. Nothing here weighs rules a second time.

use std::fmt;

use nexin_abi::Action;
use nexin_abi::maps::policy::{RuleId, Verdict};
use nexin_model::{Direction, Identity, Protocol};
use serde::Serialize;

use crate::engine::Engine;
use crate::rule::{DocumentKey, Origin, RuleAction};

/// What one side's policy says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// No policy speaks about this side, or the side is no policy subject.
    Unrestricted,
    Allowed,
    /// A deny rule matched.
    Denied,
    /// Isolated, and nothing allows it.
    DefaultDenied,
}

impl Decision {
    pub const fn passes(self) -> bool {
        matches!(self, Self::Unrestricted | Self::Allowed)
    }

    const fn of(action: u8) -> Self {
        match action {
            a if a == Action::Allow as u8 => Self::Allowed,
            a if a == Action::Deny as u8 => Self::Denied,
            _ => Self::DefaultDenied,
        }
    }

    pub const fn text(self) -> &'static str {
        match self {
            Self::Unrestricted => "allowed (no policy)",
            Self::Allowed => "allowed",
            Self::Denied => "denied by a rule",
            Self::DefaultDenied => "denied by default",
        }
    }
}

/// Answer for one side of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideAnswer {
    pub direction: Direction,
    pub decision: Decision,
    /// The rule that decides, or that isolates where nothing allows; 0 = none.
    pub rule: RuleId,
    /// Traffic goes to a proxy, which decides further.
    pub redirect: bool,
    /// Authentication wanted: 0 none, else [`crate::rule::Auth`].
    pub auth: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What it would be with policies in shadow mode in force; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowAnswer {
    pub decision: Decision,
    pub rule: RuleId,
}

/// Both sides of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowAnswer {
    pub egress: SideAnswer,
    pub ingress: SideAnswer,
}

impl FlowAnswer {
    /// Both sides let it pass.
    pub fn passes(&self) -> bool {
        self.egress.decision.passes() && self.ingress.decision.passes()
    }
}

/// A rule that has to do with the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpokenRule {
    pub rule: RuleId,
    pub action: RuleAction,
    pub origin: Origin,
    pub part: Part,
    pub shadow: bool,
}

/// What a rule had to do with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Decided.
    Decides,
    /// Is in shadow mode and would decide if it were in force.
    WouldDecide,
    /// Matches; a stronger rule decided.
    Overruled,
    /// Is about this peer, but other ports.
    OtherPorts,
}

impl Part {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Decides => "decides",
            Self::WouldDecide => "would decide if shadow policies were in force",
            Self::Overruled => "matches, but a stronger rule decides",
            Self::OtherPorts => "is about this peer, but other ports",
        }
    }
}

/// One side, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub answer: SideAnswer,
    /// Strongest first.
    pub rules: Vec<SpokenRule>,
    /// Documents that isolate this side, so that what nothing allows is refused.
    pub isolated_by: Vec<DocumentKey>,
}

impl Engine {
    /// What the policy of `subject` says of traffic with `peer`. `port`: destination port, for ICMP `type << 8 | code`.
    /// An unknown subject has no policy; an unknown peer matches only rules about everyone.
    pub fn answer(
        &mut self,
        subject: Identity,
        direction: Direction,
        peer: Identity,
        protocol: Protocol,
        port: u16,
    ) -> SideAnswer {
        let verdict = self.policy_for(subject).and_then(|policies| {
            let tables = policies.of(direction)?.clone();
            // Tables the engine made are complete; were they not, the answer is the kernel's: fail closed.
            Some(nexin_verdict::decide(&*tables, 0, peer, protocol.number(), port).unwrap_or_default())
        });
        self.side_answer(direction, verdict)
    }

    /// Both sides of a flow from `source` to `destination`.
    pub fn flow_answer(
        &mut self,
        source: Identity,
        destination: Identity,
        protocol: Protocol,
        port: u16,
    ) -> FlowAnswer {
        FlowAnswer {
            egress: self.answer(source, Direction::Egress, destination, protocol, port),
            ingress: self.answer(destination, Direction::Ingress, source, protocol, port),
        }
    }

    /// As [`Self::answer`], with every rule that had a say.
    pub fn explain(
        &mut self,
        subject: Identity,
        direction: Direction,
        peer: Identity,
        protocol: Protocol,
        port: u16,
    ) -> Explanation {
        let answer = self.answer(subject, direction, peer, protocol, port);
        let spoken = self.spoken(subject, direction, peer, protocol, port);
        let mut rules: Vec<SpokenRule> = spoken
            .into_iter()
            .filter_map(|(id, matches)| {
                let rule = self.rule(id)?;
                let shadow_winner = answer.shadow.as_ref().map(|shadow| shadow.rule);
                let part = match matches {
                    false => Part::OtherPorts,
                    true if id == answer.rule => Part::Decides,
                    true if rule.shadow && shadow_winner == Some(id) => Part::WouldDecide,
                    true => Part::Overruled,
                };
                let origin = rule.origin.clone();
                Some(SpokenRule { rule: id, action: rule.action, origin, part, shadow: rule.shadow })
            })
            .collect();
        rules.sort_by_key(|rule| rule.part);
        let mut isolated_by: Vec<DocumentKey> = self
            .rules_for(subject, direction)
            .into_iter()
            .filter_map(|id| self.rule(id))
            .filter(|rule| rule.default_deny && !rule.shadow)
            .map(|rule| (*rule.origin.document).clone())
            .collect();
        isolated_by.sort_unstable();
        isolated_by.dedup();
        Explanation { answer, rules, isolated_by }
    }

    /// The answer that a verdict of tables stands for; `None`: there are no tables.
    pub fn side_answer(&self, direction: Direction, verdict: Option<Verdict>) -> SideAnswer {
        let Some(verdict) = verdict else {
            return SideAnswer {
                direction,
                decision: Decision::Unrestricted,
                rule: 0,
                redirect: false,
                auth: 0,
                log: None,
                shadow: None,
            };
        };
        let shadow = (verdict.flags & Verdict::SHADOW != 0)
            .then_some(ShadowAnswer { decision: Decision::of(verdict.shadow_action), rule: verdict.shadow_rule });
        SideAnswer {
            direction,
            decision: Decision::of(verdict.action),
            rule: verdict.rule,
            redirect: verdict.flags & Verdict::REDIRECT != 0,
            auth: verdict.auth,
            log: self.log_text(verdict.log).map(str::to_owned),
            shadow,
        }
    }
}

impl Explanation {
    /// Why, in one line.
    pub fn reason(&self) -> String {
        match self.answer.decision {
            Decision::Unrestricted => format!("no policy restricts {}", self.answer.direction),
            Decision::DefaultDenied if self.isolated_by.is_empty() => {
                "default deny: the configuration isolates it and no rule allows this".to_owned()
            }
            Decision::DefaultDenied => {
                let documents: Vec<String> = self.isolated_by.iter().map(ToString::to_string).collect();
                format!("default deny of {}: no rule allows this", documents.join(", "))
            }
            Decision::Allowed | Decision::Denied => match self.rules.iter().find(|rule| rule.part == Part::Decides) {
                Some(rule) => format!("{} ({})", rule.origin.text, rule.origin),
                None if self.isolated_by.is_empty() => {
                    "policies select it, none isolates it, no rule matches".to_owned()
                }
                None => "the local host may reach every workload (allow-localhost)".to_owned(),
            },
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = &self.answer;
        write!(f, "{}: {}", answer.direction, answer.decision.text())?;
        if answer.redirect {
            f.write_str(", to a proxy")?;
        }
        if answer.auth != 0 {
            f.write_str(", authentication required")?;
        }
        writeln!(f, "\n  because: {}", self.reason())?;
        for rule in &self.rules {
            let shadow = if rule.shadow { " [shadow]" } else { "" };
            writeln!(f, "  - {}{shadow}: {}\n      {}", rule.part.text(), rule.origin.text, rule.origin)?;
        }
        if let Some(shadow) = &answer.shadow {
            writeln!(f, "  with shadow policies in force: {}", shadow.decision.text())?;
        }
        Ok(())
    }
}
