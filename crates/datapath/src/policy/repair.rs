//! What somebody else changed in the policy tables, put right.

use nexin_abi::maps::policy::ClassKey;

use super::PolicyStore;
use crate::error::Result;

impl PolicyStore {
    /// Rewrites whatever differs in the kernel from what was written. Returns how many entries did.
    pub(crate) fn repair(&mut self) -> Result<usize> {
        let mut repaired = self.verdicts.repair()? + self.blocks.repair()? + self.ports.repair()?;
        for policy in self.loaded.values() {
            repaired += self.decisions.repair(policy.range.start, policy.kernel())?;
        }
        repaired += self.repair_classes()?;
        for (number, policy) in &self.loaded {
            if self.policies.get(number)? != Some(policy.entry()) {
                self.policies.set(number, &policy.entry())?;
                repaired += 1;
            }
        }
        Ok(repaired)
    }

    fn repair_classes(&mut self) -> Result<usize> {
        let (mut present, mut wrong, mut foreign) = (0, Vec::new(), Vec::new());
        self.classes.visit(|keys, values| {
            for (key, class) in keys.iter().zip(values) {
                let gone = (key.classifier, key.identity);
                let known = self.classifiers.get(&key.classifier);
                match known.and_then(|classifier| classifier.members.get(key.identity)) {
                    Some(right) => {
                        present += 1;
                        if right != *class {
                            wrong.push((*key, right));
                        }
                    }
                    None if self.stale.contains(&gone) || self.dead_classes.contains(&gone) => {}
                    None if self.dying.get(&key.classifier).is_some_and(|left| left.contains(&key.identity)) => {}
                    None => foreign.push(*key),
                }
            }
        })?;
        // Only when some are missing is each looked for.
        if present < self.classifiers.values().map(|classifier| classifier.members.len()).sum::<usize>() {
            for (&classifier, known) in &self.classifiers {
                for (identity, class) in known.members.iter() {
                    let key = ClassKey { classifier, identity };
                    if self.classes.get(&key)?.is_none() {
                        wrong.push((key, class));
                    }
                }
            }
        }
        self.classes.set_many(&wrong)?;
        self.classes.remove_many(&foreign)?;
        Ok(wrong.len() + foreign.len())
    }
}
