//! Typed settings: a TOML file, over it the environment, over it flags. Strings stop here; keys that nobody knows are
//! errors, with the key that was probably meant.
//!
//! A component declares its section with [`section!`](crate::section); defaults, types, the environment's names and the reference
//! page all come from that one declaration.

mod load;
mod suggest;
mod values;

pub use load::{Alias, Environment, Field, Loaded, Origin, Section, SettingsError, Sources, reference_table};
pub use suggest::nearest;
pub use values::{Choice, HumanDuration, LogFormat, LogLevel, PathText};

#[doc(hidden)]
pub use load::{Values, default_text};

/// Declares one component's settings: a struct, its defaults and its keys.
///
/// ```
/// nexin_runtime::section! {
///     /// The example.
///     pub struct Example in "example" {
///         /// How many.
///         count: u32 = 3,
///     }
/// }
/// assert_eq!(Example::default().count, 3);
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in $section:literal {
            $($(#[doc = $doc:literal])+ $field:ident : $ty:ty = $default:expr,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name { $($(#[doc = $doc])+ $vis $field: $ty,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::settings::Section for $name {
            fn fields() -> Vec<$crate::settings::Field> {
                let default = Self::default();
                vec![$($crate::settings::Field {
                    key: concat!($section, ".", stringify!($field)),
                    doc: concat!($($doc),+).trim(),
                    declared: stringify!($ty),
                    default: $crate::settings::default_text(&default.$field),
                },)+]
            }

            fn take(values: &mut $crate::settings::Values) -> Result<Self, $crate::settings::SettingsError> {
                let default = Self::default();
                Ok(Self {
                    $($field: values.take(concat!($section, ".", stringify!($field)), stringify!($ty), default.$field)?,)+
                })
            }
        }
    };
}
