//! Documents to rules: everything that a document leaves unsaid is filled in here, and only here.
//!
//! Lowering cannot fail: what could is an error of reading. What cannot be enforced yet is lowered all the same, because
//! it can be evaluated; [`crate::rule::Rule::unbuilt`] tells.

mod cilium;
mod cluster;
mod netpol;
mod selectors;
mod words;

use std::collections::HashSet;
use std::sync::Arc;

use nexin_model::{Direction, Label, LabelSet, Selector, Source};

use super::diagnostic::{Diagnostic, Pos, Severity};
use super::document::{Body, Document};
use crate::rule::{
    self, Auth, CidrGroup, L4, Level, LowerOptions, Origin, Peer, Redirect, Rule, RuleAction, Subject, Unbuilt,
};

#[cfg(test)]
mod tests;

impl Document {
    /// The document as rules.
    pub fn lower(&self, options: &LowerOptions) -> rule::Document {
        let key = Arc::new(self.key());
        let frame = Frame { document: self, key: key.clone(), options, log: None };
        let rules = match &self.body {
            Body::Network(policy) => netpol::rules(policy, &frame),
            Body::Cilium(rules) => rules.iter().flat_map(|rule| cilium::rules(rule, &frame)).collect(),
            Body::Cluster(policy) => cluster::rules(policy, &frame),
            Body::CidrGroup(_) => Vec::new(),
        };
        rule::Document { key: (*key).clone(), rules, cidr_group: self.cidr_group() }
    }

    fn cidr_group(&self) -> Option<CidrGroup> {
        let Body::CidrGroup(group) = &self.body else { return None };
        let label = |(key, value): &(String, String)| Label::new(Source::CidrGroup, key.as_str(), value.as_str());
        let labels: LabelSet = self.meta.labels.iter().map(label).collect();
        Some(CidrGroup { labels, prefixes: group.prefixes.iter().map(|prefix| prefix.value.trunc()).collect() })
    }

    /// Each place that cannot be enforced yet. A document with any is refused by the agent whole.
    pub fn unenforceable(&self) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        let mut told: HashSet<(Arc<str>, &'static str)> = HashSet::new();
        for mut rule in self.lower(&LowerOptions::default()).rules {
            while let Some(unbuilt) = rule.unbuilt() {
                let message = format!("not enforceable yet: {}", unbuilt.text());
                let path = rule.origin.path.to_string();
                let Origin { line, column, .. } = rule.origin;
                if told.insert((rule.origin.path.clone(), unbuilt.text())) {
                    let file = self.file.clone();
                    found.push(Diagnostic { severity: Severity::Error, message, file, line, column, path, help: None });
                }
                without(&mut rule, unbuilt);
            }
        }
        found
    }
}

/// Takes what is not built out of a rule, to find the next such part.
fn without(rule: &mut Rule, unbuilt: Unbuilt) {
    match unbuilt {
        Unbuilt::Proxy(_) => rule.redirect = None,
        Unbuilt::Authentication => rule.auth = None,
        Unbuilt::HostFirewall => rule.subject = Subject::Endpoints(Selector::everything()),
        Unbuilt::Fqdn => rule.peers.retain(|peer| !matches!(peer, Peer::Fqdn(_))),
        Unbuilt::Services => rule.peers.retain(|peer| !matches!(peer, Peer::Service(_))),
        Unbuilt::Protocols => rule.l4 = L4::Any,
        Unbuilt::Groups => rule.peers.retain(|peer| !matches!(peer, Peer::Group { .. })),
    }
}

/// What all rules of a document share.
struct Frame<'a> {
    document: &'a Document,
    key: Arc<rule::DocumentKey>,
    options: &'a LowerOptions,
    log: Option<Arc<str>>,
}

/// What differs from rule to rule.
struct Draft {
    subject: Subject,
    direction: Direction,
    level: Level,
    action: RuleAction,
    peers: Vec<Peer>,
    l4: L4,
    redirect: Option<Redirect>,
    auth: Option<Auth>,
    default_deny: bool,
}

impl Draft {
    /// A rule that allows all traffic of everyone; the caller says what it wants less.
    fn allow_all(subject: Subject, direction: Direction) -> Self {
        Self {
            subject,
            direction,
            level: Level::default(),
            action: RuleAction::Allow,
            peers: vec![Peer::Any],
            l4: L4::Any,
            redirect: None,
            auth: None,
            default_deny: true,
        }
    }
}

impl Frame<'_> {
    fn rule(&self, at: Pos, path: String, draft: Draft) -> Rule {
        let text = words::rule(&draft);
        let Draft { subject, direction, level, action, peers, l4, redirect, auth, default_deny } = draft;
        Rule {
            subject,
            direction,
            level,
            action,
            peers,
            l4,
            redirect,
            auth,
            log: self.log.clone(),
            default_deny,
            shadow: self.document.meta.shadow,
            origin: Origin {
                document: self.key.clone(),
                file: self.document.file.clone(),
                line: at.line,
                column: at.column,
                path: path.into(),
                text: text.into(),
            },
        }
    }
}
