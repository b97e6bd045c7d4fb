//! The plan that `registry!` makes at compile time: NextCRM's, and one of models from several
//! crates and modules.

use migrate_core::schema::{ModelKind, RegistryFacts};
use migrate_core::{Migrate, Registry, registry};
use models::NextCrm;
use uuid::Uuid;

/// Panics unless every reference leads to an earlier phase, and junctions are last.
fn assert_ordered(facts: &RegistryFacts) {
    let last = facts.phases.iter().max().copied().unwrap_or_default();
    for (model, phase) in facts.iter() {
        for column in model.columns {
            let Some(reference) = column.reference else { continue };
            let target = reference.target.get();
            if reference.deferred || target.same(model) {
                continue;
            }
            let found = facts.iter().find(|(other, _)| other.same(target));
            let (_, earlier) = found.expect("the target is in the registry");
            assert!(earlier < phase, "{}.{} -> {}", model.name, column.name, target.name);
        }
        if model.kind == ModelKind::Junction {
            assert_eq!(phase, last, "{} comes last", model.name);
        }
    }
}

#[test]
fn nextcrm_is_ordered() {
    let facts = NextCrm::FACTS;
    assert_eq!(facts.models.len(), 39);
    assert_ordered(facts);
    let deferred: Vec<String> = facts
        .iter()
        .flat_map(|(model, _)| model.columns.iter().map(move |column| (model, column)))
        .filter(|(_, column)| column.reference.is_some_and(|reference| reference.deferred))
        .map(|(model, column)| format!("{}.{}", model.name, column.name))
        .collect();
    assert!(deferred.len() < 5, "few references are left out of the order: {deferred:?}");
}

mod shop {
    //! Models of this crate that refer to those of another.
    use super::{Migrate, Uuid};

    pub(crate) mod r#type {
        use super::{Migrate, Uuid};

        #[derive(Migrate)]
        #[migrate(schema = "the \"shop\"", table = "select")]
        pub(crate) struct r#Type {
            #[migrate(id)]
            pub(crate) id: Uuid,
            #[fk(models::GptModels)]
            pub(crate) r#fn: Option<Uuid>,
        }
    }

    #[derive(Migrate)]
    pub(crate) struct Orders {
        #[migrate(id)]
        id: Uuid,
        #[fk(self::r#type::Type, on_delete = restrict)]
        r#type: Uuid,
        #[junction(super::OrdersToUsers)]
        users: Vec<Uuid>,
    }
}

#[derive(Migrate)]
#[migrate(junction)]
struct OrdersToUsers {
    #[fk(crate::shop::Orders)]
    order: Uuid,
    #[fk(models::assistants::GptModels)]
    user: Uuid,
}

registry! {
    /// Models of two crates.
    pub(crate) Both = [shop::Orders, OrdersToUsers, shop::r#type::Type, models::GptModels];
    enums = [models::status::ActiveStatus]
}

#[test]
fn models_of_several_crates_and_modules() {
    assert_ordered(Both::FACTS);
    assert_eq!(Both::FACTS.phases, [2, 3, 1, 0]);
    assert_eq!(Both::FACTS.enums[0].name, "ActiveStatus");
    let kind = Both::FACTS.model("Type").expect("raw names are known without `r#`");
    assert_eq!(
        (kind.schema, kind.table, kind.collection),
        (Some("the \"shop\""), "select", "Type")
    );
    assert_eq!(kind.module, "plan::shop::r#type");
    assert_eq!(kind.columns[1].name, "fn");
}
