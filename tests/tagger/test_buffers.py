"""Memory for matrix products: tensors like any other, and buffers that are used again."""

import torch

from tagger.buffers import Scratch, in_large_pages, kept


def test_a_tensor_in_large_pages_is_a_tensor_like_any_other():
    memory = in_large_pages(3, 1 << 20)
    memory.zero_()
    assert memory.shape == (3, 1 << 20)
    assert memory.dtype == torch.float32
    assert memory.is_contiguous()
    assert memory.sum() == 0


def test_values_that_are_kept_are_a_copy():
    values = torch.arange(6.0).view(2, 3).t()
    copy = kept(values)
    values.zero_()
    assert copy.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert copy.is_contiguous()


def test_a_buffer_grows_and_is_used_again():
    scratch = Scratch(torch.float32)
    small = scratch("a", 2, 3)
    large = scratch("a", 4, 5)
    assert (small.shape, large.shape) == ((2, 3), (4, 5))
    assert scratch("a", 7).data_ptr() == large.data_ptr() != small.data_ptr()
    assert scratch("b", 7).data_ptr() != large.data_ptr()
