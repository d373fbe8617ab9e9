"""What is said of a run that is resumed with another plan."""

from highnoon.training.plans.plan_changes import PlanChange


def test_a_value_that_is_absent_is_said_to_be_not_given():
    assert str(PlanChange("", "epochs", None, 4)) == "epochs is not given now, 4 in the checkpoint"
    assert str(PlanChange("a", "steps", 8, None)) == "stage `a`: steps is 8 now, not given in the checkpoint"
