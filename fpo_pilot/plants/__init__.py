"""Plants as batched tensors: dynamics, sensors, disturbances, references, reward, and Gymnasium environments on top.

Everything here takes and returns torch tensors with a leading batch dimension, on any device; only ``env.py`` and
``vector_env.py`` speak numpy. Import from the modules; this package loads nothing by itself.

Letters in shapes: B environments, S states, A actions, D disturbances, P parameters, M measured signals, R references,
Y outputs computed from the state, O observation entries, H past readings.
"""
