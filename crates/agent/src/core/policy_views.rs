//! Documents in force in the words of the API.

use nexin_api::v1::{Policy, PolicyState, PolicyStatus};
use nexin_policy::rule;

use super::policies::file_upload_name;
use super::{Core, policy_ref};

impl Core {
    pub(crate) fn policies(&self) -> Vec<Policy> {
        self.engine.documents().filter_map(|document| self.policy(document)).collect()
    }

    pub(crate) fn policy_problems(&self) -> Vec<PolicyStatus> {
        let in_force = |file: &str| self.uploads.contains_key(&file_upload_name(file));
        let problems = self.file_problems.iter();
        problems
            .map(|(file, message)| PolicyStatus {
                file: file.clone(),
                message: message.clone(),
                last_good_in_force: in_force(file),
            })
            .collect()
    }

    fn policy(&self, document: &rule::Document) -> Option<Policy> {
        let (_, record) = self.upload_of(&document.key)?;
        let rules = self.engine.rule_ids(&document.key);
        let first = document.rules.first();
        let line = first.map_or(1, |rule| rule.origin.line);
        let shadow = !document.rules.is_empty() && document.rules.iter().all(|rule| rule.shadow);
        let state = if self.file_problems.contains_key(&record.file) {
            PolicyState::Stale
        } else if shadow {
            PolicyState::Shadow
        } else {
            PolicyState::Enforced
        };
        let selected = self.endpoints.iter().filter(|(_, endpoint)| {
            nexin_model::Direction::BOTH.iter().any(|direction| {
                let of_endpoint = self.engine.rules_for(endpoint.identity, *direction);
                rules.iter().any(|rule| of_endpoint.contains(rule))
            })
        });
        Some(Policy {
            reference: policy_ref(&document.key),
            origin: record.origin,
            state,
            file: record.file.clone(),
            line,
            rules: u32::try_from(rules.len()).unwrap_or(u32::MAX),
            endpoints: selected.map(|(id, _)| *id).collect(),
            applied: record.applied,
            yaml: excerpt(&record.text, line),
        })
    }
}

/// The document of a multi-document text that holds `line` (from 1).
fn excerpt(text: &str, line: u32) -> String {
    let mut document = Vec::new();
    for (number, this) in text.lines().enumerate() {
        let separator = this == "---" || this.starts_with("--- ");
        if separator && number + 1 > line as usize {
            break;
        }
        if separator {
            document.clear();
        } else {
            document.push(this);
        }
    }
    let mut document = document.join("\n");
    document.push('\n');
    document
}
