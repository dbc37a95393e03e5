package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Questions about a queue's ends, and a group that goes on where it stopped. */
final class Offsets implements Scenario {
    private static final int COUNT = 40;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("offsets");
        DefaultMQProducer producer = stage.producer("offsets-producer");

        stage.check("a queue knows its first and next offset and finds offsets by time", () -> {
            producer.send(new Message(topic, Received.bytes("first")));
            MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
            long begin = producer.maxOffset(queue);
            Thread.sleep(50);
            long between = System.currentTimeMillis();
            Thread.sleep(50);
            for (int n = 0; n < COUNT; n++) producer.send(new Message(topic, Received.bytes("offset-" + n)), queue);
            require(producer.minOffset(queue) == 0, "minimum " + producer.minOffset(queue));
            require(producer.maxOffset(queue) == begin + COUNT, "maximum " + producer.maxOffset(queue) + " after " + begin);
            require(producer.searchOffset(queue, between) == begin, "by time " + producer.searchOffset(queue, between) + ", not " + begin);
            require(producer.earliestMsgStoreTime(queue) <= System.currentTimeMillis(), "earliest store time lies ahead");
            return queue.getQueueId() + ": 0 … " + (begin + COUNT);
        });

        stage.check("a group goes on after its committed offsets", () -> {
            int first = poll(stage, topic, COUNT / 2);
            int second = poll(stage, topic, COUNT + 1 - first);
            require(first + second == COUNT + 1, first + " + " + second + " messages, not " + (COUNT + 1));
            return first + " messages before, " + second + " after the restart";
        });
    }

    /** Polls until at least this many messages have come, commits and closes. */
    private static int poll(Stage stage, String topic, int wanted) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(stage.name("offsets-group"));
        stage.settle(consumer, "lite" + wanted);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        consumer.setPullBatchSize(7);
        consumer.subscribe(topic, "*");
        consumer.start();
        try {
            int[] seen = {0};
            await("polled messages", () -> {
                List<MessageExt> messages = consumer.poll(200);
                seen[0] += messages.size();
                return seen[0] >= wanted;
            }, () -> seen[0] + " of " + wanted);
            consumer.commitSync();
            return seen[0];
        } finally {
            consumer.shutdown();
        }
    }
}
