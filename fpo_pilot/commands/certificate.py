"""Whether the safety certificate of a plant speaks for it as it is, in words."""

from __future__ import annotations

from fpo_pilot.specs import content

CERTIFICATE = {
    "valid": "valid for these specs",
    "refused": "refused; `fpo-pilot validate-safety {plant} --check` says why",
    "altered": "ALTERED: the record was edited since it was written; `fpo-pilot validate-safety {plant}` makes it anew",
    "stale": "STALE: specs, dynamics, shields or release have changed since; `fpo-pilot validate-safety {plant}` makes it anew",
    "absent": "none; `fpo-pilot validate-safety {plant}` tries for one",
    "none": "none: there is no safety spec",
}


def certificate_status(name: str) -> str:
    """Return the key of :data:`CERTIFICATE` for a plant by name or path; a plant is loaded only where there is a record."""
    from fpo_pilot.certification.record import record_path, status_of

    plant_yaml = content.find_plant(name)
    if plant_yaml.absolute().parent.parent.name != "envs" or not record_path(plant_yaml).is_file():
        return "absent" if content.find_safety(plant_yaml) is not None else "none"
    from fpo_pilot.certification.validate import binding_of
    from fpo_pilot.plants.load import load_plant

    plant = load_plant(name)
    return status_of(record_path(plant_yaml), binding_of(plant), plant=plant.name)[0]
