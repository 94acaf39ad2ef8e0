"""A small dataset in COCO format, and changes that make it defective."""

WIDTH, HEIGHT = 100, 80


def make_annotation(number, image, category, box):
    ids = {'id': number, 'image_id': image, 'category_id': category}
    return {**ids, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}


def make_content():
    """Two images with two boxes each, in which nothing is wrong."""
    return {
        'images': [
            {'id': number, 'file_name': f'{name}.png', 'width': WIDTH, 'height': HEIGHT}
            for number, name in enumerate('ab', start=1)
        ],
        'annotations': [
            make_annotation(1, 1, 1, [0, 0, 40, 40]),
            make_annotation(2, 1, 2, [60, 40, 40, 40]),
            make_annotation(3, 2, 1, [10, 10, 40, 60]),
            make_annotation(4, 2, 2, [10.5, 10.5, 60, 40]),
        ],
        'categories': [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}],
    }


def remove(list_name, field):
    return lambda content: content[list_name][0].pop(field)


def put(list_name, **fields):
    return lambda content: content[list_name][0].update(fields)


def add_box(category=1, image=1, **changes):
    """Add a sound box with some changes, so that no image and no class is left without boxes."""
    annotation = {**make_annotation(9, image, category, [20, 20, 40, 40]), **changes}
    return lambda content: content['annotations'].append(annotation)


def add_category(number, name):
    return lambda content: content['categories'].append({'id': number, 'name': name})


def add_image(number, file_name, width=WIDTH, height=HEIGHT):
    image = {'id': number, 'file_name': file_name, 'width': width, 'height': height}
    return lambda content: content['images'].append(image)


def both(*changes):
    return lambda content: [change(content) for change in changes]


def mark_all(**changes):
    return lambda content: [each.update(changes) for each in content['annotations']]


def corners_for_sizes(content):
    for annotation in content['annotations']:
        left, top, width, height = annotation['bbox']
        annotation['bbox'] = [left, top, left + width, top + height]


def names(check):
    """Name the problems and then the warnings of a check."""
    return [problem.name for problem in check.problems + check.warnings]
