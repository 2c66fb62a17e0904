from __future__ import annotations

import numpy as np
import pytest
from backends import numpy

from cluster_cnn.classes.losses import label_loss

pytestmark = pytest.mark.backend


def test_cross_entropy_by_hand():
    """Logits 0 and ln 3: probabilities 1/4 and 3/4."""
    logits = np.log([[1.0, 3.0], [1.0, 3.0]]).astype(np.float32)
    loss = numpy(label_loss()(np.array([1, 0]), logits))
    np.testing.assert_allclose(loss, [-np.log(0.75), -np.log(0.25)], rtol=1e-5)


def test_forward_correction_by_hand():
    """True classes 1/4 and 3/4; label 0 with 0.25 * 0.9 + 0.75 * 0.4 = 0.525."""
    logits = np.log([[1.0, 3.0]]).astype(np.float32)
    loss = label_loss(((0.9, 0.1), (0.4, 0.6)))
    np.testing.assert_allclose(numpy(loss(np.array([0]), logits)), [-np.log(0.525)], rtol=1e-5)
    np.testing.assert_allclose(numpy(loss(np.array([1]), logits)), [-np.log(0.475)], rtol=1e-5)


def test_identity_matrix_changes_nothing_and_labels_may_be_a_column():
    logits = np.array([[0.3, -1.0, 2.0]], np.float32)
    plain = numpy(label_loss()(np.array([2]), logits))
    same = numpy(label_loss(np.eye(3))(np.array([[2]]), logits))
    np.testing.assert_allclose(plain, same, rtol=1e-5)


def test_impossible_label_is_finite():
    logits = np.array([[50.0, -50.0]], np.float32)
    assert np.isfinite(numpy(label_loss(np.eye(2))(np.array([1]), logits))).all()
