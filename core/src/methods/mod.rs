//! The method table: what exists, and what a caller needs for it (spec protocol §4, §6.1). A method
//! that is not listed does not exist, and learning even that takes `operator.admin`.

mod table;

pub use table::{METHODS, Method};

use crate::{
    protocol::{Role, RpcError},
    scope::{Scope, ScopeSet},
};

/// What a method demands of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any role and scope.
    Anyone,
    /// Role `operator` with whatever scopes.
    AnyOperator,
    /// Role `node`.
    Node,
    /// Role `operator` with this scope.
    Operator(Scope),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// Which method.
    pub method: Method,
    /// Its name on the wire.
    pub name: &'static str,
    /// What it demands.
    pub access: Access,
}

/// Why a call was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The method belongs to the other role.
    Role(RpcError),
    /// A scope is missing, or the method does not exist.
    Call(RpcError),
}

/// Looks a method up and checks that a caller may use it.
///
/// ```
/// use clawgate_core::{methods, protocol::Role, scope::{Scope, ScopeSet}};
///
/// let reader = ScopeSet::from_iter([Scope::Read]);
/// assert!(methods::authorize("status", Role::Operator, &reader).is_ok());
/// assert!(methods::authorize("set-heartbeats", Role::Operator, &reader).is_err());
/// assert!(methods::authorize("no.such.method", Role::Operator, &reader).is_err());
/// ```
///
/// # Errors
/// When the role does not fit, a scope is missing, or there is no such method.
pub fn authorize(name: &str, role: Role, scopes: &ScopeSet) -> Result<&'static MethodSpec, Denied> {
    let wrong_role = || {
        Denied::Role(RpcError::invalid_request(format!(
            "unauthorized role: {}",
            role.as_str()
        )))
    };
    let found = METHODS.iter().find(|spec| spec.name == name);
    let access = found.map_or(Access::Operator(Scope::Admin), |spec| spec.access);
    match (access, role) {
        (Access::Anyone, Role::Node | Role::Operator)
        | (Access::AnyOperator, Role::Operator)
        | (Access::Node, Role::Node) => {}
        (Access::Node, Role::Operator)
        | (Access::AnyOperator | Access::Operator(_), Role::Node) => {
            return Err(wrong_role());
        }
        (Access::Operator(needed), Role::Operator) => {
            if !scopes.allows(needed) {
                return Err(Denied::Call(RpcError::missing_scope(needed.as_str())));
            }
        }
    }
    found.ok_or_else(|| Denied::Call(RpcError::unknown_method(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_methods_are_unique() {
        for (index, spec) in METHODS.iter().enumerate() {
            for other in &METHODS[index + 1..] {
                assert_ne!(spec.name, other.name);
                assert_ne!(spec.method, other.method);
            }
        }
    }

    #[test]
    fn what_is_not_open_is_denied_by_default() {
        for role in [Role::Node, Role::Operator] {
            for spec in METHODS {
                let allowed = authorize(spec.name, role, &ScopeSet::NONE).is_ok();
                let open = match spec.access {
                    Access::Anyone => true,
                    Access::AnyOperator => role == Role::Operator,
                    Access::Node => role == Role::Node,
                    Access::Operator(_) => false,
                };
                assert_eq!(allowed, open, "{}", spec.name);
            }
        }
    }

    #[test]
    fn an_unknown_method_is_told_to_administrators_only() {
        let reader = ScopeSet::from_iter([Scope::Read]);
        let Denied::Call(error) = authorize("x.y", Role::Operator, &reader).unwrap_err() else {
            panic!("not a refused call");
        };
        assert_eq!(error.detail_code(), Some("MISSING_SCOPE"));
        let admin = ScopeSet::from_iter([Scope::Admin]);
        let Denied::Call(error) = authorize("x.y", Role::Operator, &admin).unwrap_err() else {
            panic!("not a refused call");
        };
        assert_eq!(error.message, "unknown method: x.y");
        assert!(matches!(
            authorize("x.y", Role::Node, &admin),
            Err(Denied::Role(_))
        ));
    }
}
