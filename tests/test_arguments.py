import pytest

from mmdet_detnet.arguments import check_choice, check_indices, check_positive_integer, is_number


class Net:
    pass


@pytest.mark.parametrize('owner', [Net(), 'Net'])
def test_message_names_owner_argument_value_and_what_is_allowed(owner):
    check_choice(owner, 'style', 'b', ('a', 'b'))
    with pytest.raises(ValueError, match=r"^Net: style must be one of \['a', 'b'\], got 'c'\.$"):
        check_choice(owner, 'style', 'c', ('a', 'b'))


@pytest.mark.parametrize('values', [(1, 0), (0, 0), (0, 3), 1, 'ab'])
def test_indices_must_increase_and_be_allowed(values):
    with pytest.raises(ValueError, match=r'Net: stages must be increasing and among \[0, 1, 2\]'):
        check_indices('Net', 'stages', values, range(3))


@pytest.mark.parametrize('value', [0, -1, 1.0, '1', None])
def test_positive_integers_are_neither_zero_nor_of_another_type(value):
    with pytest.raises(ValueError, match='Net: width must be a positive integer'):
        check_positive_integer('Net', 'width', value)


@pytest.mark.parametrize('value', [float('nan'), float('-inf'), 10**400, True, '1', None])
def test_numbers_are_finite_as_a_float(value):
    assert not is_number(value)
    assert is_number(-1) and is_number(0.5)
